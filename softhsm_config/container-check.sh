#!/usr/bin/env bash
# Runs the suite in a container of Debian 12, against SoftHSM2. See --help.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() {
  cat <<'TEXT'
Usage: softhsm_config/container-check.sh [OPTIONS] [-- OPTION OF ./check ...]

Makes an image from softhsm_config/Containerfile and runs ./check in it, as a user without rights and without a network.
Images and containers are kept in a folder of their own, which is removed at the end; the user's are not touched.

  --engine NAME   podman (the default where it is installed) or docker
  --base IMAGE    the image to start from. Default: debian:12 of the registry, and where that cannot be had, one that is made here with
                  mmdebstrap (podman only; as root)
  --local         make the base here, without asking a registry
  --folder DIR    where to work (a new folder in /var/tmp); about 2 GB
  --help          this text

Everything after -- goes to ./check, for example: -- --tests p11
TEXT
}

engine="" base="" local=0 folder=/var/tmp
while [ $# -gt 0 ]; do
  case $1 in
  --engine) engine=${2:?--engine needs a name}; shift ;;
  --base) base=${2:?--base needs an image}; shift ;;
  --local) local=1 ;;
  --folder) folder=${2:?--folder needs a folder}; shift ;;
  --help | -h) usage; exit 0 ;;
  --) shift; break ;;
  *) echo "container-check: unknown option $1; see --help" >&2; exit 2 ;;
  esac
  shift
done
stop() { echo "container-check: $1" >&2; echo "  next: $2" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
say() { printf '== %s (%d s)\n' "$*" "$SECONDS"; }
[ -n "$engine" ] || { have podman && engine=podman; } || { have docker && engine=docker; } ||
  stop "there is neither podman nor docker" "apt-get install podman runc uidmap mmdebstrap"
have "$engine" || stop "$engine is not installed" "apt-get install podman runc uidmap mmdebstrap, or --engine"

# Root's podman has a few fixed places besides its storage (a cache of layers, locks of networks, the list of what runs): in a mount
# namespace they are ours. The namespace also takes all mounts with it.
if [ "$engine" = podman ] && [ "$(id -u)" = 0 ] && [ "${KN_CONTAINER_NAMESPACE:-0}" != 1 ] && unshare --mount true 2>/dev/null; then
  options=(--engine podman --folder "$folder")
  [ -z "$base" ] || options+=(--base "$base")
  [ $local = 0 ] || options+=(--local)
  KN_CONTAINER_NAMESPACE=1 exec unshare --mount --propagation private "$0" "${options[@]}" -- "$@"
fi

mkdir -p "$folder"
work=$(mktemp -d "$folder/keynym-container.XXXXXX")
run=keynym-check-$$
places=() made=()
own_place() { # a folder of the system's, empty and ours in this namespace
  local parent=$1
  while [ ! -d "$parent" ]; do made=("$parent" "${made[@]}"); parent=$(dirname "$parent"); done
  mkdir -p "$1" "$work/places$1"
  mount --bind "$work/places$1" "$1"
  places+=("$1")
}
clean_up() {
  set +e
  case $engine in
  podman)
    podman rm --all --force --time 0
    podman rmi --all --force
    while mountpoint -q "$work/graph/overlay" && umount "$work/graph/overlay"; do :; done
    ;;
  docker)
    docker rm --force "$run"
    docker rmi "$run"
    ;;
  esac >/dev/null 2>&1
  for place in "${places[@]}"; do umount --lazy "$place"; done
  if [ ${#made[@]} -gt 0 ]; then printf '%s\n' "${made[@]}" | sort -r | while read -r folder; do rmdir "$folder"; done; fi
  if [ "$(id -u)" != 0 ] && [ "$engine" = podman ]; then podman unshare rm -rf "$work" 2>/dev/null; fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

if [ "$engine" = podman ]; then
  if [ "${KN_CONTAINER_NAMESPACE:-0}" = 1 ]; then
    for place in /var/lib/containers /etc/containers/networks /etc/cni/net.d /run/containers /run/libpod; do own_place $place; done
  fi
  # A storage and a configuration of our own. The limits: some machines do not let a container raise its own (podman's default asks for
  # more than they have), and those with cgroups of both versions need runc and cgroupfs.
  files=$(ulimit -Hn)
  case $files in unlimited | ???????*) files=1000000 ;; esac
  mkdir -p "$work/graph" "$work/run" "$work/tmp"
  {
    printf '[containers]\ndefault_ulimits = ["nofile=%s:%s", "nproc=30000:30000"]\n' "$files" "$files"
    if [ -x /usr/lib/podman/netavark ]; then printf '[network]\nnetwork_backend = "netavark"\n'; fi
    printf '[engine]\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n'
    if have runc; then echo 'runtime = "runc"'; fi
  } >"$work/containers.conf"
  printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' "$work" "$work" >"$work/storage.conf"
  export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf TMPDIR=$work/tmp
fi

if [ -z "$base" ] && [ $local = 0 ]; then
  say "base: debian:12 of the registry"
  if timeout 60 "$engine" pull -q docker.io/library/debian:12 >"$work/pull.log" 2>&1; then
    base=docker.io/library/debian:12
  else
    echo "   not to be had: $(tail -n 1 "$work/pull.log" | cut -c1-160)"
  fi
fi
if [ -z "$base" ]; then
  [ "$engine" = podman ] || stop "no base image can be had" "docker pull debian:12, or --base IMAGE"
  have mmdebstrap || stop "mmdebstrap is not installed" "apt-get install mmdebstrap"
  say "base: made here with mmdebstrap"
  mmdebstrap --quiet --variant=apt bookworm "$work/base.tar" >"$work/mmdebstrap.log" 2>&1 ||
    stop "mmdebstrap failed: $(tail -n 1 "$work/mmdebstrap.log")" "see its manual page; as root it needs no user namespace"
  podman import --quiet "$work/base.tar" localhost/keynym-base >/dev/null
  rm "$work/base.tar"
  base=localhost/keynym-base
fi

say "image: $base with what ./check needs"
mkdir "$work/context"
if git -C "$root" rev-parse >/dev/null 2>&1; then
  git -C "$root" ls-files -z --cached --others --exclude-standard | tar -C "$root" --null --files-from - --ignore-failed-read -c 2>/dev/null | tar -C "$work/context" -x
else
  tar -C "$root" --exclude ./build -c . | tar -C "$work/context" -x
fi
"$engine" build --network host --build-arg "BASE=$base" --tag "$run" --file "$work/context/softhsm_config/Containerfile" \
  "$work/context" >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log" >&2; stop "the image cannot be built" "see above"; }

say "run: ./check --no-install $*"
status=0
"$engine" run --rm --name "$run" --network none "$run" ./check --no-install "$@" || status=$?
say "finished with exit status $status"
exit $status
