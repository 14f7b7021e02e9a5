#!/bin/sh
# Builds the guest: a Debian of this machine's release, as a disk image with kernel and initrd beside it, and the state of
# a machine that has booted it, for every run to go on from. Run as root by `tests/setup.sh guest`. The image belongs to
# every checkout whose recipe, this file and qemu.sh, is the same.
#
#   tests/vm/image.sh DIR SOURCES   DIR is made whole or not at all; SOURCES holds *.list and *.sources for apt
set -eu
dir=$1 sources=$2
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
packages=linux-image-cloud-amd64,systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,udev,kmod,apparmor
packages=$packages,uidmap,slirp4netns,fuse-overlayfs,passt,bubblewrap,podman,crun,iproute2,procps,lz4
packages=$packages,git,tmux,jq,python3,gcc,libc6-dev,make,vim-tiny,less,strace,curl

umask 022
mkdir -p "$(dirname "$dir")"
# Whoever waits here finds the image made. What is still named new.* was left by a build that was killed: nobody holds it.
exec 9>"$(dirname "$dir")/lock"
flock 9
[ -d "$dir" ] && exit 0
rm -rf "$(dirname "$dir")"/new.*
new=$(mktemp -d "$(dirname "$dir")/new.XXXXXX")
qemu=
trap 'test -z "$qemu" || kill "$qemu" 2>/dev/null; rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM

# The early user space holds what finds the root disk and no more: it is unpacked by an emulated processor, at each boot.
cat >"$new/initramfs" <<'END'
MODULES=list
COMPRESS=lz4
BUSYBOX=n
END
# How this machine reaches its package sources holds for the guest's packages as well, such as a proxy.
apt-config dump --format '%f "%v";%n' | grep -E '^Acquire::(https?|Check|Retries)[^ ]* "[^"]+"' >"$new/apt.conf" || true

set --
for f in "$sources"/*; do
    [ -s "$f" ] && set -- "$@" "$f"
done
# A mount namespace of its own: the mounts of a build that is killed end with it.
unshare -m mmdebstrap --quiet --mode=root --format=directory --variant=apt \
    --aptopt="$new/apt.conf" --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook="cp $new/initramfs \"\$1/etc/initramfs-tools/conf.d/sbx\"" \
    --essential-hook='printf "virtio_pci\nvirtio_blk\n" >"$1/etc/initramfs-tools/modules"' \
    --include="$packages" "$release" "$new/root" "$@"
root=$new/root

# sbxtest has sub-ids and, being allowed to linger, a service manager from boot on; sbxplain has sub-ids alone.
chroot "$root" groupadd sbxextra
for user in sbxtest sbxplain; do
    chroot "$root" useradd --create-home --shell /bin/bash --groups sbxextra $user
done
chroot "$root" useradd --create-home --shell /bin/bash --groups sbxextra -K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0 sbxnosub
sed -i '/^sbxnosub:/d' "$root/etc/subuid" "$root/etc/subgid"
mkdir -p "$root/var/lib/systemd/linger" "$root/var/lib/sbx-test"
touch "$root/var/lib/systemd/linger/sbxtest"

echo sbx-guest >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 sbx-guest\n::1 localhost\n' >"$root/etc/hosts"
cat >"$root/etc/fstab" <<'END'
/dev/vda / ext4 defaults,noatime 0 0
END
# Once it has booted, the guest says so and waits, at last for the time of day: days may have passed. The second drive is
# another then than at boot.
cat >"$root/usr/local/sbin/sbx-test" <<'END'
#!/bin/sh
set -eu
until systemctl is-active --quiet user@$(id -u sbxtest).service; do sleep 0.1; done
exec 3<>/dev/virtio-ports/sbx
echo ready >&3
read -r now <&3
exec 3>&-
date --set="@$now"
blockdev --flushbufs /dev/vdb
mount -o noatime /dev/vdb /var/lib/sbx-test
exec /var/lib/sbx-test/bin/vm -inside
END
chmod 755 "$root/usr/local/sbin/sbx-test"
# The guest is for one program; when it ends, by whatever cause, so does the machine.
cat >"$root/etc/systemd/system/sbx-test.service" <<'END'
[Unit]
Description=The tests of sbx
Wants=modprobe@virtio_console.service
After=modprobe@virtio_console.service multi-user.target
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate

[Service]
Type=exec
ExecStart=/usr/local/sbin/sbx-test
StandardOutput=journal+console
StandardError=journal+console
TasksMax=infinity

[Install]
WantedBy=graphical.target
END
systemctl --quiet --root="$root" enable sbx-test.service
systemctl --quiet --root="$root" mask serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer

cp "$root"/boot/vmlinuz-* "$new/vmlinuz"
cp "$root"/boot/initrd.img-* "$new/initrd.img"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/*
truncate -s 4G "$new/disk.img"
mke2fs -q -t ext4 -E lazy_itable_init=0,nodiscard -d "$root" "$new/disk.img"
rm -rf "$root" "$new/initramfs" "$new/apt.conf"

# The first boot, to the very end of it. After `migrate` the machine stands still, and the disk belongs to the state.
truncate -s 2G "$new/none.img"
mkfifo "$new/in" "$new/out" "$new/monitor.in" "$new/monitor.out"
timeout 600 tests/vm/qemu.sh "$new" off "$new/none.img" -chardev "pipe,id=monitor,path=$new/monitor" -mon chardev=monitor \
    <"$new/in" >"$new/out" 2>"$new/console" 9>&- &
qemu=$!
exec 4>"$new/in" 5<"$new/out" 6<>"$new/monitor.in" 7<>"$new/monitor.out"
if ! read -r ready <&5 || [ "$ready" != ready ]; then
    echo "image: the guest does not boot; the end of its console:" >&2
    tail -n 30 "$new/console" >&2
    exit 1
fi
printf 'migrate "exec:cat >%s/state"\nquit\n' "$new" >&6
wait "$qemu"
qemu=
[ -s "$new/state" ]
rm -f "$new/none.img" "$new/in" "$new/out" "$new"/monitor.* "$new/console"

chmod 644 "$new"/*
chmod 755 "$new"
sync -f "$new"
mv "$new" "$dir"
# Images of other recipes that nobody has built for two weeks.
find "$(dirname "$dir")" -mindepth 1 -maxdepth 1 -type d ! -path "$dir" -mtime +14 -exec rm -rf {} +
