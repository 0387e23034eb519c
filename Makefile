# `make install DESTDIR=…` lays the files where they belong; debhelper calls it, and so does an installation
# without the .deb (see docs/README.md).

DESTDIR =
LIBRARY = $(DESTDIR)/usr/lib/jupyterhub4family
SHARE = $(DESTDIR)/usr/share/jupyterhub4family
LANGUAGES = de
CATALOGUE = LC_MESSAGES/jupyterhub4family
FILES = $(shell cd data && find . -type f)
# Manual pages, completion and the sample of the settings are made of the source; needs python3-yaml and msgfmt.
GENERATED = PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m tools.manual

all clean:

install:
	set -e; cd data; for file in $(FILES); do \
	    mode=0644; if [ -x "$$file" ]; then mode=0755; fi; \
	    install -D -m $$mode "$$file" "$(DESTDIR)/$$file"; \
	done
	$(GENERATED) $(DESTDIR)/
	chmod 0440 $(DESTDIR)/etc/sudoers.d/jupyterhub4family
	install -D -m 0644 data/etc/sudoers.d/jupyterhub4family $(SHARE)/originals/sudoers
	install -D -m 0644 data/etc/pam.d/jupyterhub4family $(SHARE)/originals/pam
	set -e; for file in data/usr/lib/jupyterhub4family/*; do \
	    install -D -m 0644 "$$file" "$(SHARE)/originals/programs/$$(basename "$$file")"; \
	done
	set -e; for file in data/usr/bin/*; do \
	    install -D -m 0644 "$$file" "$(SHARE)/originals/commands/$$(basename "$$file")"; \
	done
	set -e; cd src; find jupyterhub4family -name '*.py' | while read -r file; do \
	    install -D -m 0644 "$$file" "$(LIBRARY)/$$file"; \
	done
	set -e; find locks -name '*.txt' -o -name '*.toml' -o -name '*.json' | while read -r file; do \
	    install -D -m 0644 "$$file" "$(SHARE)/$$file"; \
	done
	set -e; cd locale; for language in $(LANGUAGES); do \
	    mkdir -p $(DESTDIR)/usr/share/locale/$$language/LC_MESSAGES; \
	    msgfmt -o $(DESTDIR)/usr/share/locale/$$language/$(CATALOGUE).mo $$language/$(CATALOGUE).po; \
	done
	ln -sf jupyterhub4family $(DESTDIR)/usr/bin/jh4f
	# A link: without the package it leads nowhere, and the console is silent about us.
	mkdir -p $(DESTDIR)/etc/issue.d
	ln -sf /usr/share/jupyterhub4family/console.issue $(DESTDIR)/etc/issue.d/60-jupyterhub4family.issue

# Only for an installation without the .deb: takes the files away again.
uninstall:
	set -e; files=$$($(GENERATED) --list); for file in $$files; do rm -f "$(DESTDIR)/$$file"; done
	set -e; cd data; for file in $(FILES); do rm -f "$(DESTDIR)/$$file"; done
	rm -f $(foreach language,$(LANGUAGES),$(DESTDIR)/usr/share/locale/$(language)/$(CATALOGUE).mo)
	rm -rf $(LIBRARY) $(SHARE) $(DESTDIR)/usr/bin/jh4f
	-rmdir -p $(DESTDIR)/usr/share/fish/vendor_completions.d $(DESTDIR)/usr/share/zsh/vendor-completions 2>/dev/null
	rm -f $(DESTDIR)/etc/issue.d/60-jupyterhub4family.issue
	rmdir $(DESTDIR)/etc/issue.d 2>/dev/null || true

.PHONY: all clean install uninstall
