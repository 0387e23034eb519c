"""The campaign of attacks: the rows of SECURITY.md, each as whoever it is about would try.

| who | where |
|---|---|
| the service account, taken over | test_service.py; with strange requests at every door, test_requests.py |
| somebody who can become root, at add, login and start | test_becoming_root.py |
| a member, against root and the service | test_member_and_root.py, test_squatters.py; ../test_environment.py |
| these and members, by what they leave for root to read | test_planted.py; tests/unit/test_openings.py |
| a member, against another member | test_member_and_member.py, test_ports.py; kernels: ../test_kernels.py |
| the same, through a browser | tests/browser/test_gate.py, ../test_gate.py, tests/unit/service/run/test_gate.py |
| all who open doors, by what they bring along | test_installed.py (environment), test_inherited.py (all else) |
| a member of jupyterhub_adm | test_requests.py; names and groups: ../test_members.py |
| floods: a device, a member's browser and programs | test_floods.py |
| a member who takes all memory, or answers for others | ../test_short_memory.py, tests/unit/hub/test_short_memory.py |
| somebody on the network | test_network.py; certificates: ../test_https.py, tests/browser/test_forged.py |
| whoever guesses passwords, or keeps others from logging in | test_guessing.py |
| whoever stands between the family and its source of newer versions | test_sources.py |
| nobody: what is fetched | `./test lint`, tools/audit |
"""
