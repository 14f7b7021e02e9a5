#!/bin/sh
# Root's part of `make test`, `make bench` and `make demo`. Safe to run again and again.
#
#   tests/setup.sh prepare [demo]   packages, test users, devices (demo: only what the demo needs)
#   tests/setup.sh prepare guest    only what builds and boots the guest of tests/vm
#   tests/setup.sh stage DIR        copies DIR (binaries) and the source tree to where the test users can read them
#   tests/setup.sh hello            fetches the Debian source package `hello`
#   tests/setup.sh debian           makes a Debian base, for the tests of images
#   tests/setup.sh long             brings what the long scripts need, for `make test-all`
#   tests/setup.sh development     makes a development image and brings podman and rootlesskit, for the benchmark
#   tests/setup.sh guest DIR        builds the guest of tests/vm in DIR, unless it is there
#
# SBX_TEST_AS, `sbx` if not set, begins the names of users and folders: two checkouts are tested at once with two of them.
set -eu
cd "$(dirname "$0")/.."
as=${SBX_TEST_AS:-sbx}
user=${as}test nosub=${as}nosub group=${as}extra stage=/var/lib/$as-test

say() { echo "setup: $*"; }

install_missing() {
    command -v apt-get >/dev/null || { say "no apt-get here; install by hand what is missing of: $*"; return 0; }
    missing=
    for p in "$@"; do
        dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    # shellcheck disable=SC2086
    apt-get -qq -y --no-install-recommends install $missing >/dev/null
}

# next_subid FILE prints the first number above every range in FILE.
next_subid() {
    awk -F: 'BEGIN { n = 100000 } $2 + $3 > n { n = $2 + $3 } END { print n }' "$1"
}

make_user() { # NAME, its uid decided by the machine
    id "$1" >/dev/null 2>&1 || { say "making user $1"; useradd --create-home --shell /bin/bash "$@"; }
}

# open_device makes a device node usable by users, as distributions with udev rules have it.
open_device() {
    [ -c "$1" ] || return 0
    case "$(stat -c %a "$1")" in
    666 | 777) ;;
    *) say "opening $1 to users (chmod 666)"; chmod 666 "$1" ;;
    esac
}

prepare() {
    if [ "${1-}" = guest ]; then
        install_missing qemu-system-x86 mmdebstrap e2fsprogs
        return
    fi
    touch /etc/subuid /etc/subgid
    if [ "${1-}" = demo ]; then
        install_missing uidmap
    else
        install_missing uidmap apparmor bubblewrap tmux jq iproute2 procps gcc libc6-dev make git python3 vim-tiny dpkg-dev strace gdb util-linux \
            slirp4netns passt curl iperf3 \
            ruby rake cmake debhelper fakeroot help2man texinfo python3-pip python3-setuptools python3-wheel \
            dbus-daemon docker-registry skopeo umoci fuse-overlayfs mmdebstrap apache2-utils zstd btrfs-progs xfsprogs
        command -v npm >/dev/null || install_missing npm
    fi

    getent group $group >/dev/null || groupadd $group
    make_user $user
    for f in /etc/subuid /etc/subgid; do
        grep -q "^$user:" $f || echo "$user:$(next_subid $f):65536" >>$f
    done
    make_user $nosub -K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0
    sed -i "/^$nosub:/d" /etc/subuid /etc/subgid
    usermod -aG $group $user
    usermod -aG $group $nosub

    open_device /dev/fuse
    open_device /dev/net/tun

    mkdir -p $stage
    chmod 755 $stage
    mkdir -p $stage/group
    echo "for the extra group alone" >$stage/group/secret
    chown root:$group $stage/group/secret
    chmod 640 $stage/group/secret
}

# stage_files replaces $stage/bin and $stage/src; a running binary is replaced by rename, not written over.
stage_files() {
    rm -rf $stage/new
    mkdir -p $stage/new
    cp -R "$1" $stage/new/bin
    mkdir $stage/new/src
    tar -cf - --exclude=./.git --exclude=./bin . | tar -C $stage/new/src -xf -
    chmod -R u=rwX,go=rX $stage/new
    chown -R $user:$user $stage/new/src
    rm -rf $stage/bin $stage/src $stage/nasty
    # Layers of other projects' tests, which attack whoever unpacks them, where they lie beside the checkout.
    [ ! -d ../shared/nasty-layers ] || { cp -R ../shared/nasty-layers $stage/nasty && chmod -R u=rwX,go=rX $stage/nasty; }
    mv $stage/new/bin $stage/new/src $stage/
    rmdir $stage/new
    if [ -n "${2-}" ] && ! cmp -s go.sum $stage/modcache/.go.sum; then
        rm -rf $stage/modcache
        cp -R "$2" $stage/modcache
        chmod -R u=rwX,go=rX $stage/modcache
        cp go.sum $stage/modcache/.go.sum
    fi
}

# source_lists writes the machine's own package sources to $1 as $2 (deb, deb-src): this release's, component main alone.
source_lists() {
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$f" ] || continue
        awk -v r="$release" -v type="$2" '$1 == "deb" {
            for (i = 2; i < NF; i++) if ($i == r && $(i+1) == "main") { sub(/^deb/, type); print; next }
        }' "$f"
    done >"$1/own.list"
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -f "$f" ] || continue
        awk -v r="$release" -v type="$2" 'BEGIN { RS = ""; ORS = "\n\n" }
            $0 ~ "(^|\n)Suites:[^\n]*[ ]" r "([ \n]|$)" && /(^|\n)Components:[^\n]* main/ {
                sub(/(^|\n)Types:[^\n]*/, "\nTypes: " type); sub(/^\n/, ""); print
            }' "$f"
    done >"$1/own.sources"
}

fetch_hello() {
    [ -d $stage/hello/src ] && return 0
    apt=$stage/hello/apt
    rm -rf $stage/hello
    mkdir -p $apt/lists/partial $apt/sources.d
    chmod -R a+rX $stage/hello
    source_lists $apt/sources.d deb-src
    opts="-qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$apt/sources.d -o Dir::State::lists=$apt/lists"
    opts="$opts -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root"
    # shellcheck disable=SC2086
    (cd $stage/hello && apt-get $opts update && apt-get $opts --download-only source hello && dpkg-source -x hello_*.dsc src) >/dev/null
    rm -rf $apt
    chmod -R a+rX $stage/hello
    say "fetched $(cd $stage/hello && ls hello_*.dsc)"
}

# build_guest builds the image of the guest in $1.
build_guest() {
    prepare guest
    [ -d "$1" ] && return 0
    command -v mmdebstrap >/dev/null || { say "no mmdebstrap here: the guest is built on Debian"; return 1; }
    say "building the guest in $1"
    sources=$(mktemp -d)
    source_lists "$sources" deb
    status=0
    tests/vm/image.sh "$1" "$sources" || status=$?
    rm -rf "$sources"
    return $status
}

# make_development makes the root file system of a development image of about 500 MB, for the benchmark.
make_development() {
    make_debian
    install_missing podman rootlesskit
    [ -s $stage/debian/dev.tar ] && return 0
    set --
    for f in $stage/debian/sources.d/*; do
        [ -s "$f" ] && set -- "$@" "$f"
    done
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    nice unshare -m mmdebstrap --quiet --mode=root --variant=minbase --include=build-essential,git,python3,cmake,gdb \
        --aptopt=$stage/debian/apt.conf --dpkgopt=force-unsafe-io "$release" $stage/debian/dev.new.tar "$@"
    chmod a+r $stage/debian/dev.new.tar
    mv $stage/debian/dev.new.tar $stage/debian/dev.tar
    say "made $(du -h $stage/debian/dev.tar | cut -f1) of a development image"
}

# prepare_long brings what only long scripts need: Rust, Maven with plugins and JUnit in Debian's own
# repository of artifacts, an X server, programs that look for holes.
prepare_long() {
    install_missing cargo xvfb lynis checksec libcap2-bin maven default-jdk-headless junit4 libmaven-resources-plugin-java \
        libmaven-compiler-plugin-java libmaven-jar-plugin-java libsurefire-java
    install -d -m 1777 /tmp/.X11-unix # as a machine with a desktop has it
}

# make_debian makes a Debian base as a tar, and a package source of two packages, for the tests of images.
make_debian() {
    make_base
    grep -q '^Package: sudo$' $stage/debian/repo/Packages && return 0
    (cd $stage/debian/repo && apt-get -qq update && apt-get -qq -o APT::Sandbox::User=root download hello sudo && dpkg-scanpackages . >Packages 2>/dev/null)
    chmod -R a+rX $stage/debian
}

make_base() {
    [ -e $stage/debian/repo/Packages ] && return 0
    rm -rf $stage/debian
    mkdir -p $stage/debian/repo $stage/debian/sources.d
    source_lists $stage/debian/sources.d deb
    apt-config dump --format '%f "%v";%n' | grep -E '^Acquire::(https?|Check|Retries)[^ ]* "[^"]+"' >$stage/debian/apt.conf || true
    set --
    for f in $stage/debian/sources.d/*; do
        [ -s "$f" ] && set -- "$@" "$f"
    done
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    nice unshare -m mmdebstrap --quiet --mode=root --variant=minbase --aptopt=$stage/debian/apt.conf \
        --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$release" $stage/debian/base.tar "$@"
    touch $stage/debian/repo/Packages
    say "made $(du -h $stage/debian/base.tar | cut -f1) of Debian"
}

case "${1-}" in
prepare) prepare "${2-}" ;;
stage) stage_files "$2" "${3-}" ;;
hello) fetch_hello ;;
debian) make_debian ;;
long) prepare_long ;;
development) make_development ;;
guest) build_guest "$2" ;;
*) echo "usage: $0 prepare [demo|guest] | stage DIR [MODCACHE] | hello | debian | long | development | guest DIR" >&2; exit 2 ;;
esac
