#!/bin/sh
# A build script as somebody else might have written it. Each try prints what it got:
#   GOT  what     the try succeeded
#   NO   what     it did not, and why
# The last line is the number of tries that succeeded; the exit status is 0 when none did.
got=0
try() { # WHAT COMMAND...: succeeds when the command does and prints something
    what=$1
    shift
    if answer=$("$@" 2>&1) && [ -n "$answer" ]; then
        got=$((got + 1))
        printf 'GOT  %-39s %s\n' "$what" "$(echo "$answer" | head -1)"
    else
        printf 'NO   %-39s %s\n' "$what" "$(echo "${answer:-nothing there}" | tail -1)"
    fi
}

change_bashrc() { [ -s ~/.bashrc ] && echo 'echo owned' >>~/.bashrc && echo "added a line to $(cd && pwd)/.bashrc"; }
change_beside() { [ -s ../neighbour ] && echo evil >>../neighbour && echo "added a line to $(cd .. && pwd)/neighbour"; }
leave_hook() { echo 'echo owned' >.git/hooks/pre-commit && echo 'wrote .git/hooks/pre-commit'; }
move_git() { mv .git .git-moved && mv .git-moved .git && echo 'moved .git away and back'; }
# Without nc or curl: /dev/tcp is bash's own.
reach() { timeout 3 bash -c 'exec 3<>/dev/tcp/127.0.0.1/'"$DEMO_PORT"' && head -1 <&3'; }
host_process() { ps ax -o pid=,args= | grep "[s]leep $DEMO_MARK"; }
host_environ() { tr '\0' '\n' </proc/"$(cat demo.pid)"/environ | grep DEMO_TOKEN; }

try 'read ~/.ssh/id_ed25519' cat "$HOME/.ssh/id_ed25519"
try 'find a token in the environment' printenv DEMO_TOKEN
try "read another process's environment" host_environ
try "reach a server on the host's loopback" reach
try 'change ~/.bashrc' change_bashrc
try 'change a file beside the project' change_beside
try 'see processes of the host' host_process
try 'leave a git hook behind' leave_hook
try 'rename .git away' move_git

# Blind writes: a sandbox may let them go to a folder of its own, so the demo looks on the host what came of them.
{ echo 'echo owned' >>~/.bashrc; echo evil >../left-by-hostile; echo evil >/tmp/left-by-hostile."$DEMO_MARK"; } 2>/dev/null

# And it does what it was started for.
printf '#!/bin/sh\necho built\n' >output && chmod +x output
echo "     the build itself: $(./output)"
echo "$got of 9 tries succeeded"
[ "$got" = 0 ]
