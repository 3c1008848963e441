# bash completion for machinectl: the stock one, and the verbs of machinedctl

. /usr/share/bash-completion/completions/machinectl 2>/dev/null
. @PREFIX@/share/bash-completion/completions/machinedctl

_machinectl_and_ours() {
  local verb
  verb=$(_machinedctl_verb)
  if [[ -n $verb && " $_machinedctl_verbs " == *" $verb "* ]]; then
    _machinedctl
    return
  fi
  COMPREPLY=()
  ! declare -F _machinectl >/dev/null || _machinectl
  [[ -n $verb || ${COMP_WORDS[COMP_CWORD]} == -* ]] ||
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$_machinedctl_verbs" -- "${COMP_WORDS[COMP_CWORD]}")
}

complete -F _machinectl_and_ours machinectl
