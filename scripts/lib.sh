# Shell functions that scripts/setup and scripts/build-guest share; to be sourced by bash.

# Where downloads and what is made from them are kept from one clone to the next.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/hatchway"

# fail MESSAGE [HINT]: one line of what is wrong, one of the way out, and the end.
fail() {
  printf 'error: %s\n' "$1" >&2
  if [ $# -gt 1 ]; then printf 'hint: %s\n' "$2" >&2; fi
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

seconds_since() {
  local elapsed=$((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}))
  printf '%d.%d s' $((elapsed / 1000000)) $((elapsed % 1000000 / 100000))
}

# step LABEL COMMAND…: runs a command quietly and shows one line with the time it took. On a terminal the label is shown at
# once. The command's output goes to a log, which is shown if the command fails.
step() {
  local label="$1" begin="$EPOCHREALTIME" log status=0
  shift
  log="$(mktemp)"
  if [ -t 1 ]; then printf '  %s …' "$label"; fi
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ -t 1 ]; then printf '\r\033[K'; fi
  if [ "$status" -ne 0 ]; then
    printf '  %s: failed after %s\n' "$label" "$(seconds_since "$begin")"
    tail -n 40 "$log" >&2
    rm -f "$log"
    return "$status"
  fi
  printf '  %s: %s\n' "$label" "$(seconds_since "$begin")"
  rm -f "$log"
}

# require_apt: refuses where Debian's tools are not.
require_apt() {
  have apt-get && have dpkg-query || fail "this is not a Debian system: apt-get and dpkg are needed" \
    "the project is made for Debian 12"
}
