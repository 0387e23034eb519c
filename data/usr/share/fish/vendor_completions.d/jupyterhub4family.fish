# Made by python3 -m tools.manual; changes here are lost.
function __jupyterhub4family_at --description 'whether the words so far are this command and that many arguments'
    set -l words (commandline -opc)
    set -l line ''
    set -l skip 0
    set -l arguments 0
    string match -qr '(^|/)jupyterhub-members$' -- $words[1]; and set line ' members'
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word '--key-file' '--member' '--path' '--to' '--from' '-n' '--lines'
            set skip 1
        else if string match -q -- '-*' $word
            continue
        else if contains -- "$line $word" ' status' ' open' ' members' ' env' ' backup' ' cert' ' config' ' doctor' ' upgrade' ' rollback' ' support' ' logs' ' start' ' stop' ' restart' ' version' ' members add' ' members remove' ' members list' ' members show' ' env status' ' env upgrade' ' env repair' ' env reset' ' backup setup' ' backup now' ' backup list' ' backup verify' ' backup restore' ' backup off' ' cert show' ' cert renew' ' cert export' ' cert trust' ' cert use' ' config show' ' config get' ' config set' ' config unset' ' config edit'
            set line "$line $word"
        else
            set arguments (math $arguments + 1)
            set -g __jupyterhub4family_before $word
        end
    end
    test "$skip" = 0; and test "$line" = "$argv[1]"; and test "$argv[2]" = any -o "$arguments" = "$argv[2]"
end

function __jupyterhub4family_members
    getent group jupyterhub | cut -d: -f4 | tr , '\n'
end

function __jupyterhub4family_accounts
    getent passwd | awk -F: '$3 >= 1000 && $3 < 60000 { print $1 }'
end

function __jupyterhub4family_values
    switch $__jupyterhub4family_before
        case listen
            string split ' ' 'lan local'
        case supervisor
            string split ' ' 'auto systemd cron'
        case https
            string split ' ' 'true false'
        case allow_plain_http
            string split ' ' 'true false'
        case language
            string split ' ' 'auto en de'
        case auto_upgrade
            string split ' ' 'true false'
        case upgrade_waits_for_kernels
            string split ' ' 'true false'
    end
end

for name in jupyterhub4family jh4f jupyterhub-members
    complete -c $name -f
    complete -c $name -s h -l help -d 'Show what there is'
    complete -c $name -n '__jupyterhub4family_at "" any' -l version -d 'show program'\''s version number and exit'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a status -d 'say what is running and where the portal is'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a open -d 'open the portal in the browser'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a members -d 'add, remove and list who may log in'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a env -d 'look after one'\''s own JupyterLab environment'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a backup -d 'back up the hub and everybody'\''s notebooks, and bring them back'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a cert -d 'show, renew, export or replace the portal'\''s certificate'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a config -d 'show and change the settings'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a doctor -d 'look whether everything is as it should be, and mend what is not'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a upgrade -d 'install the newest version, try it out, and go back by itself if nobody can log in with it'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a rollback -d 'go back to the version before the last upgrade'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a support -d 'pack what helpers need to know into one archive, without secrets and names'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a logs -d 'show what hub, proxy or a member'\''s servers have written'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a start -d 'start hub and proxy'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a stop -d 'stop hub and proxy; members'\'' running servers go on'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a restart -d 'restart the hub; open notebooks go on working meanwhile'
    complete -c $name -n '__jupyterhub4family_at "" 0' -a version -d 'say which version this is'
    complete -c $name -n '__jupyterhub4family_at " status" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " status" any' -l qr -d 'show a code that phones can read, however small the window'
    complete -c $name -n '__jupyterhub4family_at " members" 0' -a add -d 'let these accounts log in'
    complete -c $name -n '__jupyterhub4family_at " members" 0' -a remove -d 'stop their servers, end their sessions, let them in no more'
    complete -c $name -n '__jupyterhub4family_at " members" 0' -a list -d 'show all members'
    complete -c $name -n '__jupyterhub4family_at " members add" any' -l allow-administrator -d 'accept accounts that can become root (root only; weakens this machine)'
    complete -c $name -n '__jupyterhub4family_at " members add" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " members add" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " members add" any' -a '(__jupyterhub4family_accounts)'
    complete -c $name -n '__jupyterhub4family_at " members remove" any' -s y -l yes -d 'do not ask'
    complete -c $name -n '__jupyterhub4family_at " members remove" any' -l dry-run -d 'only say what would be done'
    complete -c $name -n '__jupyterhub4family_at " members remove" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " members remove" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " members remove" any' -a '(__jupyterhub4family_members)'
    complete -c $name -n '__jupyterhub4family_at " members list" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " env" 0' -a status -d 'say what it is like: versions, own packages, whether a newer one is offered'
    complete -c $name -n '__jupyterhub4family_at " env" 0' -a upgrade -d 'make it anew from the newest template, with the own packages'
    complete -c $name -n '__jupyterhub4family_at " env" 0' -a repair -d 'try it out thoroughly and, if it is broken, make it anew with the own packages'
    complete -c $name -n '__jupyterhub4family_at " env" 0' -a reset -d 'make it anew without the own packages'
    complete -c $name -n '__jupyterhub4family_at " env status" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " env status" 0' -a '(__jupyterhub4family_members)'
    complete -c $name -n '__jupyterhub4family_at " env upgrade" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " env upgrade" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " env upgrade" 0' -a '(__jupyterhub4family_members)'
    complete -c $name -n '__jupyterhub4family_at " env repair" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " env repair" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " env repair" 0' -a '(__jupyterhub4family_members)'
    complete -c $name -n '__jupyterhub4family_at " env reset" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " env reset" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " env reset" any' -s y -l yes -d 'do not ask'
    complete -c $name -n '__jupyterhub4family_at " env reset" any' -l dry-run -d 'only say what would be done'
    complete -c $name -n '__jupyterhub4family_at " env reset" 0' -a '(__jupyterhub4family_members)'
    complete -c $name -n '__jupyterhub4family_at " backup" 0' -a setup -d 'say where backups go; from then on they are made every night'
    complete -c $name -n '__jupyterhub4family_at " backup" 0' -a now -d 'make a backup now'
    complete -c $name -n '__jupyterhub4family_at " backup" 0' -a list -d 'show all backups'
    complete -c $name -n '__jupyterhub4family_at " backup" 0' -a verify -d 'read every backup and see whether it is undamaged'
    complete -c $name -n '__jupyterhub4family_at " backup" 0' -a restore -d 'bring everything back, or a member'\''s home, or single files'
    complete -c $name -n '__jupyterhub4family_at " backup" 0' -a off -d 'make no backups any more; those there are stay'
    complete -c $name -n '__jupyterhub4family_at " backup setup" any' -l key-file -x -d 'a file with the recovery key of a backup that is there already'
    complete -c $name -n '__jupyterhub4family_at " backup setup" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " backup setup" 0' -a ''
    complete -c $name -n '__jupyterhub4family_at " backup now" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " backup now" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " backup list" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " backup verify" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " backup verify" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " backup restore" any' -l member -x -d 'only the home of this member'
    complete -c $name -n '__jupyterhub4family_at " backup restore" any' -l path -x -d 'only this file or folder of a home; can be given several times'
    complete -c $name -n '__jupyterhub4family_at " backup restore" any' -l to -x -d 'into this new folder, and change nothing else'
    complete -c $name -n '__jupyterhub4family_at " backup restore" any' -l from -x -d 'from this backup (see `backup list`; default: the newest)'
    complete -c $name -n '__jupyterhub4family_at " backup restore" any' -l dry-run -d 'only say what would be done'
    complete -c $name -n '__jupyterhub4family_at " backup restore" any' -s y -l yes -d 'do not ask'
    complete -c $name -n '__jupyterhub4family_at " backup restore" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " backup restore" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " backup off" any' -s y -l yes -d 'do not ask'
    complete -c $name -n '__jupyterhub4family_at " backup off" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " cert" 0' -a show -d 'names, end and fingerprints'
    complete -c $name -n '__jupyterhub4family_at " cert" 0' -a renew -d 'make a new certificate; open notebooks go on'
    complete -c $name -n '__jupyterhub4family_at " cert" 0' -a export -d 'write the authority'\''s certificate, for a device to import'
    complete -c $name -n '__jupyterhub4family_at " cert" 0' -a trust -d 'make this computer'\''s own programs trust the portal'
    complete -c $name -n '__jupyterhub4family_at " cert" 0' -a use -d 'use a certificate that you have from elsewhere'
    complete -c $name -n '__jupyterhub4family_at " cert show" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " cert renew" any' -l new-authority -d 'a new authority as well: every device has to import it anew'
    complete -c $name -n '__jupyterhub4family_at " cert export" any' -l der -d 'in binary form (DER), which some devices want'
    complete -c $name -n '__jupyterhub4family_at " cert export" 0' -a '(__fish_complete_path)'
    complete -c $name -n '__jupyterhub4family_at " cert trust" any' -l remove -d 'and no longer'
    complete -c $name -n '__jupyterhub4family_at " cert use" any' -l reset -d 'back to the one of the family'\''s own authority'
    complete -c $name -n '__jupyterhub4family_at " cert use" any' -a ''
    complete -c $name -n '__jupyterhub4family_at " config" 0' -a show -d 'show all settings'
    complete -c $name -n '__jupyterhub4family_at " config" 0' -a get -d 'show one value'
    complete -c $name -n '__jupyterhub4family_at " config" 0' -a set -d 'change one value'
    complete -c $name -n '__jupyterhub4family_at " config" 0' -a unset -d 'go back to the default of a key'
    complete -c $name -n '__jupyterhub4family_at " config" 0' -a edit -d 'change the settings file in an editor; it is checked before it counts'
    complete -c $name -n '__jupyterhub4family_at " config show" any' -l origin -d 'also say where each value comes from'
    complete -c $name -n '__jupyterhub4family_at " config show" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " config get" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " config get" 0' -a 'port listen supervisor hub_port proxy_api_port start_timeout https allow_plain_http extra_names family_name login_help language upgrade_source upgrade_key auto_upgrade upgrade_waits_for_kernels memory_limit memory_limit_total cpu_weight process_limit member_limits'
    complete -c $name -n '__jupyterhub4family_at " config set" any' -l dry-run -d 'only say what would be done'
    complete -c $name -n '__jupyterhub4family_at " config set" any' -l no-restart -d 'leave it to a later restart to take effect'
    complete -c $name -n '__jupyterhub4family_at " config set" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " config set" 0' -a 'port listen supervisor hub_port proxy_api_port start_timeout https allow_plain_http extra_names family_name login_help language upgrade_source upgrade_key auto_upgrade upgrade_waits_for_kernels memory_limit memory_limit_total cpu_weight process_limit member_limits'
    complete -c $name -n '__jupyterhub4family_at " config set" 1' -a '(__jupyterhub4family_values)'
    complete -c $name -n '__jupyterhub4family_at " config unset" any' -l dry-run -d 'only say what would be done'
    complete -c $name -n '__jupyterhub4family_at " config unset" any' -l no-restart -d 'leave it to a later restart to take effect'
    complete -c $name -n '__jupyterhub4family_at " config unset" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " config unset" 0' -a 'port listen supervisor hub_port proxy_api_port start_timeout https allow_plain_http extra_names family_name login_help language upgrade_source upgrade_key auto_upgrade upgrade_waits_for_kernels memory_limit memory_limit_total cpu_weight process_limit member_limits'
    complete -c $name -n '__jupyterhub4family_at " config edit" any' -l no-restart -d 'leave it to a later restart to take effect'
    complete -c $name -n '__jupyterhub4family_at " config edit" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " doctor" any' -l fix -d 'mend what can be mended, then look again (root only)'
    complete -c $name -n '__jupyterhub4family_at " doctor" any' -l deep -d 'also log in, start a server and calculate (root only)'
    complete -c $name -n '__jupyterhub4family_at " doctor" any' -l json -d 'as JSON'
    complete -c $name -n '__jupyterhub4family_at " doctor" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " doctor" any' -a 'settings groups account sudoers pam doors package folders disk memory limits clock names release template upgrade database supervisor other-supervisor ports portal certificate backup members homes environments'
    complete -c $name -n '__jupyterhub4family_at " upgrade" any' -l check -d 'only say whether there is a newer version'
    complete -c $name -n '__jupyterhub4family_at " upgrade" any' -l again -d 'also try a version that has failed before'
    complete -c $name -n '__jupyterhub4family_at " upgrade" any' -l json -d 'as JSON (with --check)'
    complete -c $name -n '__jupyterhub4family_at " upgrade" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " rollback" any' -s y -l yes -d 'do not ask'
    complete -c $name -n '__jupyterhub4family_at " rollback" any' -l dry-run -d 'only say what would be done'
    complete -c $name -n '__jupyterhub4family_at " rollback" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " logs" any' -s f -l follow -d 'go on showing what is written now'
    complete -c $name -n '__jupyterhub4family_at " logs" any' -s n -l lines -x -d 'how many lines (default: 200)'
    complete -c $name -n '__jupyterhub4family_at " logs" 0' -a 'hub proxy (__jupyterhub4family_members)'
    complete -c $name -n '__jupyterhub4family_at " start" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " stop" any' -l servers -d 'stop the members'\'' servers, too'
    complete -c $name -n '__jupyterhub4family_at " stop" any' -s y -l yes -d 'do not ask'
    complete -c $name -n '__jupyterhub4family_at " stop" any' -l dry-run -d 'only say what would be done'
    complete -c $name -n '__jupyterhub4family_at " stop" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " restart" any' -l all -d 'restart the proxy, too'
    complete -c $name -n '__jupyterhub4family_at " restart" any' -s q -l quiet -d 'say nothing but errors'
    complete -c $name -n '__jupyterhub4family_at " version" any' -l json -d 'as JSON'
end
