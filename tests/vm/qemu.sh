#!/bin/sh
# Runs the guest of the image in DIR on a second drive, with the port that the guest talks through on standard input and
# output and its console on standard error. The state of a guest that has booted is kept in DIR and belongs to these very
# arguments: they are a part of the recipe.
#
#   tests/vm/qemu.sh DIR on|off DRIVE [qemu arguments...]   on: what is written to the image is forgotten at the end
set -eu
dir=$1 snapshot=$2 drive=$3
shift 3
exec qemu-system-x86_64 -name sbx-guest -nodefaults -no-user-config -display none -nic none -no-reboot \
    -machine pc,usb=off,vmport=off -accel tcg,thread=multi,tb-size=512 -cpu max -smp 2 -m 2048 \
    -kernel "$dir/vmlinuz" -initrd "$dir/initrd.img" \
    -append "console=ttyS0 root=/dev/vda rw quiet panic=-1 mitigations=off" \
    -drive "if=virtio,format=raw,cache=unsafe,snapshot=$snapshot,file=$dir/disk.img" \
    -drive "if=virtio,format=raw,cache=unsafe,file=$drive" \
    -chardev file,id=console,path=/dev/fd/2 -serial chardev:console \
    -chardev stdio,id=port,signal=off -device virtio-serial-pci -device virtserialport,chardev=port,name=sbx "$@"
