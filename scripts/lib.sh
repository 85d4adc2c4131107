# Shell functions that the scripts here share; to be sourced by bash.

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

# step LABEL COMMAND…: runs a command quietly and shows one line with the time it took; meanwhile, on a terminal, the
# seconds and the newest line of its output. All of the output is shown if the command fails. The log has no name, so that
# nothing stays behind whenever this ends.
step() {
  local label="$1" begin="$EPOCHREALTIME" name log ticker="" status=0
  shift
  name="$(mktemp)"
  exec {log}<>"$name"
  rm -f "$name"
  printf '  %s … ' "$label"
  if [ -t 1 ]; then
    show_progress "$label" "/proc/$$/fd/$log" "$$" &
    ticker=$!
  fi
  "$@" >&"$log" 2>&1 </dev/null || status=$?
  if [ -n "$ticker" ]; then
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    printf '\r\033[K  %s … ' "$label"
  fi
  if [ "$status" -eq 0 ]; then
    seconds_since "$begin"
    echo
  else
    printf 'failed after %s\n' "$(seconds_since "$begin")"
    shorten "/proc/$$/fd/$log" >&2
  fi
  exec {log}>&-
  return "$status"
}

# show_progress LABEL LOG PROCESS: rewrites one line each second, for as long as the process lives.
show_progress() {
  local begin="$SECONDS" last width
  while sleep 1 && kill -0 "$3" 2>/dev/null; do
    last="$(tail -c 400 "$2" | tr '\r' '\n' | sed -n '$p' | tr -cd '[:print:]')"
    width=$(($(tput cols 2>/dev/null || echo 80) - ${#1} - 14))
    if [ "$width" -lt 0 ]; then width=0; fi
    printf '\r\033[K  %s … %d s  %s' "$1" $((SECONDS - begin)) "${last:0:width}"
  done
}

# shorten FILE: its lines, less the middle of many: what went wrong is said first by some tools and last by others.
shorten() {
  if [ "$(wc -l <"$1")" -le 50 ]; then
    cat "$1"
  else
    head -n 20 "$1"
    echo "  […]"
    tail -n 25 "$1"
  fi
}

# require_apt: refuses where Debian's tools are not.
require_apt() {
  have apt-get && have dpkg-query || fail "this is not a Debian system: apt-get and dpkg are needed" \
    "the project is made for Debian 12"
}

# debian_mirror: the URI of the first Debian archive among the machine's apt sources: deb822 files, then one-line files.
debian_mirror() {
  local files=() file uri=""
  for file in /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list; do
    if [ -f "$file" ]; then files+=("$file"); fi
  done
  if [ "${#files[@]}" -eq 0 ]; then fail "cannot fetch packages: there is no apt source under /etc/apt"; fi
  uri="$(awk '
    tolower($1) == "uris:" { for (i = 2; i <= NF; i++) print $i }
    $1 == "deb" || $1 == "deb-src" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; break } }
  ' "${files[@]}" | grep -E '/debian/?$' | head -n 1)" || true
  [ -n "$uri" ] || fail "cannot fetch packages: no apt source ends in /debian (looked in ${files[*]})"
  printf '%s\n' "$uri"
}

# private_apt FOLDER ARCHITECTURE deb|deb-src SUITE ARGUMENT…: apt-get with a state of its own in FOLDER, over another
# suite of this machine's mirror whose index the Debian keyring has signed; the machine's apt knows nothing of it.
private_apt() {
  local state="$1" architecture="$2" kind="$3" suite="$4" keyring=/usr/share/keyrings/debian-archive-keyring.gpg uri
  shift 4
  [ -f "$keyring" ] || fail "cannot fetch packages: $keyring is missing" "apt-get install debian-archive-keyring"
  uri="$(debian_mirror)" || exit 1
  mkdir -p "$state/lists/partial" "$state/archives/partial"
  : >"$state/status"
  printf '%s [signed-by=%s] %s %s main\n' "$kind" "$keyring" "$uri" "$suite" >"$state/sources.list"
  apt-get -q -o "Dir::State=$state" -o "Dir::Cache=$state" -o "Dir::State::status=$state/status" \
    -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" \
    -o APT::Sandbox::User= -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}
