# Made by python3 -m tools.manual; changes here are lost.
source /usr/share/fish/vendor_completions.d/jupyterhub4family.fish
