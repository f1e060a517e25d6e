"""Measures the immutable VMs of hyper2kvm clone; a part of tests/bench/run.

By hand means: an overlay by qemu-img, the repair by virt-customize (initramfs, fstab, GRUB), and
virsh define; the commands that people find when they look for how it is done.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import shutil
import statistics
import subprocess

GIB = 1 << 30
MIB = 1 << 20
CLONES = 1000

REPAIR = ("printf 'virtio_pci\\nvirtio_blk\\nvirtio_scsi\\nvirtio_net\\n' >> /etc/initramfs-tools/modules; "
          "update-initramfs -u -k all; sed -i 's,/dev/sda,/dev/vda,' /etc/fstab /boot/grub/grub.cfg")
DOMAIN = """<domain type='kvm'><name>h2k-bench</name><memory unit='MiB'>2048</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{image}'/>
<target dev='vda' bus='virtio'/></disk></devices></domain>
"""


class Clones:
    def __init__(self, bench, tools, guest):
        self.program, self.work, self.runs, self.tools = bench.program, bench.work, bench.runs, tools
        self.guest = guest
        self.store = os.path.join(bench.work, 'store')

    def run(self, verb, *args):
        """Wall seconds and peak memory of a verb."""
        wall, _, memory = self.tools.measure(
            [self.program, '-q', 'clone', verb, '--state-dir', self.store, *args])
        return wall, memory

    def image(self, name):
        return os.path.join(self.store, 'clones', name, 'current/disk.qcow2')

    def enlarged(self, name, size):
        path = os.path.join(self.work, f'{name}.raw')
        subprocess.run(['cp', '--sparse=always', '--reflink=auto', self.guest, path], check=True)
        os.truncate(path, size)
        return path

    def stored(self, name):
        return int(self.tools.output_of(
            'du', '-s', '-B1', os.path.join(self.store, 'clones', name)).split()[0])

    def show(self, what, walls, more=''):
        print(f'  {what:<46}{self.tools.spread(walls, self.tools.milliseconds)}{more}')

    def create(self):
        medians = {}
        for size in 10 * GIB, 2048 * GIB:
            disk = self.enlarged('disk', size)
            walls = {'cold': [], 'warm': []}
            for state in walls:
                for _ in range(self.runs):
                    self.tools.prepare(disk, os.path.join(self.work, 'nothing'), state == 'warm'
                                       and size < 2048 * GIB)
                    if state == 'warm':
                        self.run('create', disk, 'first')
                        self.run('delete', 'first')
                    wall, memory = self.run('create', disk, 'c')
                    walls[state].append(wall)
                    taken = self.stored('c')
                    self.run('delete', 'c')
                self.show(f'create of {self.tools.size_text(size)}, repaired, {state}', walls[state],
                          f'; {self.tools.size_text(taken)} stored, '
                          f'peak memory {self.tools.size_text(memory)}')
            medians[size] = statistics.median(walls['cold'])
            os.unlink(disk)
        return medians[10 * GIB]

    def by_hand(self):
        disk = self.enlarged('disk', 10 * GIB)
        image = os.path.join(self.work, 'hand.qcow2')
        xml = os.path.join(self.work, 'hand.xml')
        with open(xml, 'w') as f:
            f.write(DOMAIN.format(image=image))
        steps = (['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', disk, '-F', 'raw', image],
                 ['virt-customize', '-q', '-a', image, '--run-command', REPAIR],
                 ['virsh', '-q', '-c', 'test:///default', 'define', xml])
        walls = []
        for _ in range(self.runs):
            self.tools.prepare(disk, image)
            walls.append(sum(self.tools.measure(argv)[0] for argv in steps))
        self.show('the same by hand, of 10 GiB, cold', walls)
        os.unlink(disk)
        return statistics.median(walls)

    def reset(self):
        walls = []
        self.run('create', self.guest, 'c')
        for _ in range(max(self.runs, 10)):
            walls.append(self.run('reset', 'c')[0])
        self.show('reset', walls)

    def list(self):
        """Copies of one: what a list reads is the same."""
        folder = os.path.join(self.store, 'clones')
        for i in range(1, CLONES):
            shutil.copytree(os.path.join(folder, 'c'), os.path.join(folder, f'c{i}'), symlinks=True)
        self.show(f'list of {CLONES}', [self.run('list')[0] for _ in range(max(self.runs, 5))])
        for i in range(1, CLONES):
            shutil.rmtree(os.path.join(folder, f'c{i}'))
        self.run('delete', 'c')

    def diff(self):
        disk = self.enlarged('disk', 100 * GIB)
        added, layer = (os.path.join(self.work, name) for name in ('added', 'added.qcow2'))
        self.run('create', disk, 'c')
        with open(added, 'wb') as f:
            f.write(os.urandom(100 * MIB))
        subprocess.run([self.program, '-q', 'put', '-o', layer, self.image('c'), added, '/root/added'],
                       check=True)
        subprocess.run(['qemu-img', 'commit', '-q', layer], check=True)
        walls, memory = [], 0
        for _ in range(self.runs):
            for path in disk, self.image('c'):
                self.tools.drop_from_cache(path)
            wall, peak = self.run('diff', 'c')
            walls.append(wall)
            memory = max(memory, peak)
        self.show('diff of 100 MiB on 100 GiB, cold', walls,
                  f'; peak memory {self.tools.size_text(memory)}')
        os.unlink(disk)
        self.run('delete', 'c')


def run(bench, tools, guest):
    clones = Clones(bench, tools, guest)
    print('\nImmutable VMs')
    ours = clones.create()
    if all(shutil.which(tool) for tool in ('virt-customize', 'virsh')):
        tools.choose_acceleration()
        print(f'  hyper2kvm is {clones.by_hand() / ours:.0f} times as fast as by hand')
    clones.reset()
    clones.list()
    clones.diff()
