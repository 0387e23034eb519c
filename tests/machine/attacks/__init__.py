"""The campaign of attacks: the rows of SECURITY.md, each as whoever it is about would try.

| who | where |
|---|---|
| the service account, taken over | test_service.py; with strange requests at every door, test_requests.py |
| a member, against root and the service | test_member_and_root.py; environments: ../test_environment.py |
| a member, against another member | test_member_and_member.py, test_ports.py; kernels: ../test_kernels.py |
| a member of jupyterhub_adm | test_requests.py; names and groups: ../test_members.py |
| somebody on the network | test_network.py; certificates: ../test_https.py, tests/browser/test_forged.py |
| nobody: what is fetched | `./test lint`, tools/audit |
"""
