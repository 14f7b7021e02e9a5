#!/bin/bash
# make demo: a hostile build script, first without a sandbox in a throwaway home, then under sbx.
# Ends with 0 when every try succeeds without sbx and none does under it.
set -eu
cd "$(dirname "$0")/../.."
sbx=$(realpath "${1:-bin/sbx}")

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# What the machine lacks. A plain user without sudo goes on with what there is.
if ! command -v newuidmap >/dev/null; then
    if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || [ -t 0 ]; then
        as_root tests/setup.sh prepare demo || true
    fi
fi
# Root has no sandbox of its own worth showing: hand over to the test user.
if [ "$(id -u)" = 0 ]; then
    tests/setup.sh prepare demo
    as=${SBX_TEST_AS:-sbx}
    stage=$(mktemp -d "/var/lib/$as-test/demo.XXXXXX")
    trap 'rm -rf "$stage"' EXIT
    mkdir "$stage/examples" "$stage/bin"
    cp -R examples/hostile "$stage/examples/"
    cp "$sbx" "$(dirname "$sbx")/demo-server" "$stage/bin/"
    chmod -R a+rX "$stage"
    setsid --wait setpriv --reuid "${as}test" --regid "${as}test" --init-groups --inh-caps=-all --reset-env \
        bash "$stage/examples/hostile/demo.sh" "$stage/bin/sbx" </dev/null
    exit
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/sbx-demo.XXXXXX")
script=$PWD/examples/hostile
export HOME=$work/home DEMO_TOKEN=token-of-the-host DEMO_MARK=86399.$$
cleanup() {
    kill $(jobs -p) 2>/dev/null || true
    rm -rf "$work" "/tmp/left-by-hostile.$DEMO_MARK"
}
trap cleanup EXIT

# fresh makes the home and the project anew, a key and a git folder in them.
fresh() {
    rm -rf "$work/home" "$work/project" "$work/left-by-hostile" "/tmp/left-by-hostile.$DEMO_MARK"
    mkdir -p "$work/home/.ssh" "$work/project/.git/hooks"
    echo '-----BEGIN OPENSSH PRIVATE KEY----- (of the demo)' >"$work/home/.ssh/id_ed25519"
    echo '# of the demo' >"$work/home/.bashrc"
    cp "$script/build.sh" "$work/project/"
    echo "a neighbour's file" >"$work/neighbour"
    cp "$work/pid" "$work/project/demo.pid"
}

# A server on the host's loopback, and a process to be seen.
"$(dirname "$sbx")/demo-server" >"$work/port" &
sleep "$DEMO_MARK" &
echo $! >"$work/pid"
until [ -s "$work/port" ]; do sleep 0.05; done
DEMO_PORT=$(cat "$work/port")
export DEMO_PORT

echo 'A hostile build script without a sandbox, in a throwaway home:'
fresh
bare=0
(cd "$work/project" && sh ./build.sh) || bare=$?
echo
echo 'The same script:  sbx run -e DEMO_PORT -e DEMO_MARK -- sh ./build.sh'
fresh
under=0
(cd "$work/project" && "$sbx" run -e DEMO_PORT -e DEMO_MARK -- sh ./build.sh) || under=$?
echo
left=
[ ! -e "$work/left-by-hostile" ] || left="$left a file beside the project,"
[ ! -e "/tmp/left-by-hostile.$DEMO_MARK" ] || left="$left a file in /tmp,"
[ ! -e "$work/project/.git/hooks/pre-commit" ] || left="$left a git hook,"
! grep -q owned "$work/home/.bashrc" || left="$left a line in .bashrc,"
! grep -q evil "$work/neighbour" || left="$left a line in a neighbour's file,"
echo "On the host afterwards: ${left:-nothing but the output of the build}"
[ -x "$work/project/output" ] || { echo 'demo: FAILED, the build was not done'; exit 1; }
[ -z "$left" ] || { echo 'demo: FAILED, the script left something behind'; exit 1; }
if [ "$bare" = 0 ]; then
    echo 'demo: FAILED, the script got nothing even without a sandbox: it proves nothing here'
    exit 1
fi
if [ "$under" != 0 ]; then
    echo "demo: FAILED, a try succeeded under sbx or sbx did not run (status $under)"
    exit 1
fi
echo 'demo: passed'
