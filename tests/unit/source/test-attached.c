/* test-attached.c - what is known of a host's disks: made-up hosts, and this one's loop devices.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../packed.h"

#include "source/attached.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* --- made-up hosts ---------------------------------------------------------------------------- */

typedef struct
{
  char *root;
} Host;

static void
put_bytes (Host *host, const char *path, const char *data, gssize length)
{
  g_autofree char *full = g_strconcat (host->root, path, NULL), *dir = g_path_get_dirname (full);

  g_assert_cmpint (g_mkdir_with_parents (dir, 0755), ==, 0);
  g_assert_true (g_file_set_contents (full, data, length, NULL));
}

G_GNUC_PRINTF (3, 4) static void put (Host *host, const char *path, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  put_bytes (host, path, text, -1);
}

static void
put_link (Host *host, const char *path, const char *target)
{
  g_autofree char *full = g_strconcat (host->root, path, NULL), *dir = g_path_get_dirname (full);

  g_assert_cmpint (g_mkdir_with_parents (dir, 0755), ==, 0);
  g_assert_cmpint (symlink (target, full), ==, 0);
}

/* The disk NAME where the kernel would have it, and the link to it. */
static void
put_disk (Host *host, const char *place, const char *name, const char *dev, guint64 sectors)
{
  g_autofree char *dir = g_strdup_printf ("/sys/devices/%s/block/%s", place, name);
  g_autofree char *target = g_strconcat ("..", dir + strlen ("/sys"), NULL);
  g_autofree char *link = g_strconcat ("/sys/block/", name, NULL);
  g_autofree char *file = g_strconcat (dir, "/dev", NULL);
  g_autofree char *size = g_strconcat (dir, "/size", NULL);

  put (host, file, "%s\n", dev);
  put (host, size, "%" G_GUINT64_FORMAT "\n", sectors);
  put_link (host, link, target);
}

static void
put_part (Host *host, const char *disk, guint number, const char *dev)
{
  const char *p = g_ascii_isdigit (disk[strlen (disk) - 1]) ? "p" : "";
  g_autofree char *dir = g_strdup_printf ("/sys/block/%s/%s%s%u/", disk, disk, p, number);
  g_autofree char *file = g_strconcat (dir, "dev", NULL);
  g_autofree char *partition = g_strconcat (dir, "partition", NULL);
  g_autofree char *size = g_strconcat (dir, "size", NULL);

  put (host, file, "%s\n", dev);
  put (host, partition, "%u\n", number);
  put (host, size, "2048\n");
}

static void
put_dm (Host *host, const char *name, const char *dev, const char *dm_name, const char *uuid)
{
  g_autofree char *file = g_strdup_printf ("/sys/block/%s/dm/name", name);
  g_autofree char *uuid_file = g_strdup_printf ("/sys/block/%s/dm/uuid", name);

  put_disk (host, "virtual", name, dev, 4096);
  put (host, file, "%s\n", dm_name);
  put (host, uuid_file, "%s\n", uuid);
}

static void
hold (Host *host, const char *below, const char *above)
{
  g_autofree char *path = g_strdup_printf ("/sys/block/%s/holders/%s", below, above);

  put (host, path, "%s", "");
}

static void
setup (Host *host, gconstpointer data)
{
  host->root = g_dir_make_tmp ("host-XXXXXX", NULL);
  g_assert_nonnull (host->root);
  put (host, "/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
  put (host, "/proc/self/mountinfo", "%s", "");
}

static void
teardown (Host *host, gconstpointer data)
{
  g_free (host->root);
}

static H2kAttached *
find (Host *host, guint major, guint minor)
{
  g_autoptr (GError) error = NULL;
  H2kAttached *attached = h2k_attached_of_dev (host->root, makedev (major, minor), &error);

  g_assert_no_error (error);
  return attached;
}

static char *
names (GPtrArray *disks)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < disks->len; i++)
    g_string_append_printf (text, "%s%s", i ? " " : "", ((H2kAttached *)disks->pdata[i])->name);
  return g_string_free (g_steal_pointer (&text), FALSE);
}

static char *
list (Host *host)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) disks = h2k_attached_list (host->root, &error);

  g_assert_no_error (error);
  return names (disks);
}

/* A server's first disk: ESP, swap, LVM. */
static void
put_server (Host *host)
{
  guint8 page[572] = {0, 0x89};

  put_disk (host, "pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0", "sda", "8:0", 8388608);
  put_part (host, "sda", 1, "8:1");
  put_part (host, "sda", 2, "8:2");
  put_part (host, "sda", 3, "8:3");
  put (host, "/sys/block/sda/device/vendor", "ATA     \n");
  put (host, "/sys/block/sda/device/model", "Samsung SSD 870 \n");
  memcpy (page + 60 + 54, "aSsmnu gSS D78 0VE O52G0 B              ", 40);
  memcpy (page + 60 + 20, "5S2FGN001234 6      ", 20);
  put_bytes (host, "/sys/block/sda/device/vpd_pg89", (char *)page, sizeof page);
  put (host, "/sys/block/sda/queue/logical_block_size", "512\n");
  put (host, "/sys/block/sda/queue/physical_block_size", "4096\n");
  put (host, "/sys/block/sda/queue/rotational", "0\n");
  put (host, "/sys/block/sda/removable", "0\n");
  put (host, "/sys/block/sda/ro", "0\n");
  put_link (host, "/dev/disk/by-id/wwn-0x5002538f", "../../sda");
  put_link (host, "/dev/disk/by-id/ata-Samsung_SSD_870_EVO_S5F", "../../sda");
  put_link (host, "/dev/disk/by-id/ata-Samsung_SSD_870_EVO_S5F-part1", "../../sda1");
  put_dm (host, "dm-0", "253:0", "vg--0-root", "LVM-abc");
  put_dm (host, "dm-1", "253:1", "vg--0-var", "LVM-def");
  put_dm (host, "dm-2", "253:2", "secret", "CRYPT-LUKS2-def");
  hold (host, "sda/sda3", "dm-0");
  hold (host, "sda/sda3", "dm-1");
  hold (host, "dm-1", "dm-2");
  put (host, "/proc/swaps",
       "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition\t999\t0\t-2\n");
  put (host, "/proc/self/mountinfo",
       "22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg--0-root rw\n"
       "23 22 8:1 / /boot/efi rw - vfat /dev/sda1 rw\n"
       "24 22 0:21 / /proc rw - proc proc rw\n"
       "25 22 253:2 / /my\\040\\033data rw shared:7 master:1 - ext4 /dev/mapper/secret rw\n");
}

static void
test_sata (Host *host, gconstpointer data)
{
  g_autoptr (H2kAttached) disk = NULL;

  put_server (host);
  disk = find (host, 8, 0);
  g_assert_cmpstr (disk->path, ==, "/dev/sda");
  g_assert_cmpstr (disk->whole_disk, ==, "/dev/sda");
  g_assert_false (disk->is_partition);
  g_assert_cmpstr (disk->transport, ==, "sata");
  g_assert_cmpstr (disk->model, ==, "Samsung SSD 870 EVO 250GB");
  g_assert_cmpstr (disk->serial, ==, "S5F2NG0021436");
  g_assert_cmpstr (disk->by_id, ==, "/dev/disk/by-id/ata-Samsung_SSD_870_EVO_S5F");
  g_assert_cmpuint (disk->size, ==, G_GUINT64_CONSTANT (4) << 30);
  g_assert_cmpuint (disk->logical_sector, ==, 512);
  g_assert_cmpuint (disk->physical_sector, ==, 4096);
  g_assert_false (disk->rotational || disk->removable || disk->read_only);
  g_assert_cmpuint (disk->partitions->len, ==, 3);
  g_assert_cmpstr (disk->partitions->pdata[2], ==, "/dev/sda3");
}

static void
test_users (Host *host, gconstpointer data)
{
  g_autoptr (H2kAttached) disk = NULL;
  g_autofree char *text = NULL;
  const H2kAttachedUser *user;

  put_server (host);
  disk = find (host, 8, 0);
  text = h2k_attached_users_text (disk);
  g_assert_cmpstr (text, ==,
                   "/dev/sda1: mounted on /boot/efi; /dev/sda2: swap; /dev/sda3: LVM vg-0, "
                   "encrypted as secret, mounted on / and /my \\x1bdata");
  user = disk->users->pdata[2];
  g_assert_cmpuint (user->uses, ==, H2K_USE_LVM | H2K_USE_CRYPT | H2K_USE_MOUNTED);
  g_assert_cmpuint (user->stack->len, ==, 2);
}

static void
test_partition (Host *host, gconstpointer data)
{
  g_autoptr (H2kAttached) part = NULL;

  put_server (host);
  part = find (host, 8, 2);
  g_assert_true (part->is_partition);
  g_assert_cmpuint (part->partition, ==, 2);
  g_assert_cmpstr (part->path, ==, "/dev/sda2");
  g_assert_cmpstr (part->whole_disk, ==, "/dev/sda");
  g_assert_cmpuint (part->size, ==, 1 << 20);
  g_assert_cmpuint (part->physical_sector, ==, 4096);
  g_assert_cmpuint (part->users->len, ==, 1);
  g_assert_cmpstr (((H2kAttachedUser *)part->users->pdata[0])->text, ==, "swap");
}

/* What kpartx makes of a multipath disk. */
static void
test_multipath (Host *host, gconstpointer data)
{
  g_autoptr (H2kAttached) disk = NULL, part = NULL;
  g_autofree char *listed = NULL;

  put_disk (host, "pci0000:00/host1/rport-1:0-0/target1", "sdb", "8:16", 4096);
  put_disk (host, "pci0000:00/host2/rport-2:0-0/target2", "sdc", "8:32", 4096);
  put_dm (host, "dm-0", "253:0", "mpatha", "mpath-3600");
  put_dm (host, "dm-1", "253:1", "mpatha1", "part1-mpath-3600");
  hold (host, "sdb", "dm-0");
  hold (host, "sdc", "dm-0");
  hold (host, "dm-0", "dm-1");
  listed = list (host);
  g_assert_cmpstr (listed, ==, "dm-0");
  disk = find (host, 253, 0);
  g_assert_cmpstr (disk->transport, ==, "multipath");
  g_assert_false (disk->is_partition);
  part = find (host, 253, 1);
  g_assert_true (part->is_partition);
  g_assert_cmpuint (part->partition, ==, 1);
  g_assert_cmpstr (part->whole_disk, ==, "/dev/dm-0");
}

static void
test_list (Host *host, gconstpointer data)
{
  static const struct
  {
    const char *name, *dev;
    guint64 sectors;
  } disks[] = {
      {"sdaa", "65:160", 8},      {"sda", "8:0", 8},        {"sdb", "8:16", 0},
      {"nvme0n1", "259:0", 8},    {"nvme0n10", "259:1", 8}, {"nvme0n2", "259:2", 8},
      {"loop0", "7:0", 0},        {"loop10", "7:10", 8},    {"loop2", "7:2", 8},
      {"sr0", "11:0", 8},         {"zram0", "252:0", 8},    {"md0", "9:0", 8},
      {"md126", "9:126", 8},      {"sdd", "8:48", 8},       {"zd16", "230:16", 8},
      {"cciss!c0d0", "104:0", 8},
  };
  g_autofree char *listed = NULL;
  g_autoptr (H2kAttached) disk = NULL;

  for (gsize i = 0; i < G_N_ELEMENTS (disks); i++)
    put_disk (host, "x", disks[i].name, disks[i].dev, disks[i].sectors);
  put (host, "/sys/block/md126/md/metadata_version", "external:/md127/0\n");
  put (host, "/sys/block/md0/md/metadata_version", "1.2\n");
  hold (host, "sdd", "md126");
  put (host, "/sys/block/nvme0n2/hidden", "1\n");
  listed = list (host);
  g_assert_cmpstr (listed, ==, "cciss!c0d0 loop2 loop10 md126 nvme0n1 nvme0n10 sda sdaa");
  disk = find (host, 104, 0);
  g_assert_cmpstr (disk->path, ==, "/dev/cciss/c0d0");
}

static void
test_identity (Host *host, gconstpointer data)
{
  g_autoptr (H2kAttached) nvme = NULL, usb = NULL, virtio = NULL;

  put_disk (host, "pci0000:00/nvme/nvme0", "nvme0n1", "259:0", 8);
  put (host, "/sys/block/nvme0n1/device/model", "WD Blue SN570 1TB      \n");
  put (host, "/sys/block/nvme0n1/device/serial", "22\x1b[31m12\n");
  put_link (host, "/dev/disk/by-id/nvme-eui.e8238fa6bf530001001b448b4a", "../../nvme0n1");
  put_link (host, "/dev/disk/by-id/nvme-WD_Blue_SN570_1TB_2212_1", "../../nvme0n1");
  put_link (host, "/dev/disk/by-id/nvme-WD_Blue_SN570_1TB_2212", "../../nvme0n1");
  nvme = find (host, 259, 0);
  g_assert_cmpstr (nvme->transport, ==, "nvme");
  g_assert_cmpstr (nvme->model, ==, "WD Blue SN570 1TB");
  g_assert_cmpstr (nvme->serial, ==, "22\\x1b[31m12");
  g_assert_cmpstr (nvme->by_id, ==, "/dev/disk/by-id/nvme-WD_Blue_SN570_1TB_2212");

  put_disk (host, "pci0000:00/usb2/2-1/2-1:1.0/host6/target6:0:0", "sdb", "8:16", 8);
  put (host, "/sys/block/sdb/device/vendor", "Kingston\n");
  put (host, "/sys/block/sdb/device/model", "DataTraveler 3.0\n");
  put_bytes (host, "/sys/block/sdb/device/vpd_pg80", "\0\x80\0\x05QQ123", 9);
  put (host, "/sys/block/sdb/removable", "1\n");
  usb = find (host, 8, 16);
  g_assert_cmpstr (usb->transport, ==, "usb");
  g_assert_cmpstr (usb->model, ==, "Kingston DataTraveler 3.0");
  g_assert_cmpstr (usb->serial, ==, "QQ123");
  g_assert_true (usb->removable);
  g_assert_null (usb->by_id);

  put_disk (host, "pci0000:00/0000:00:02.0/virtio1", "vda", "254:0", 8);
  put (host, "/sys/block/vda/device/vendor", "0x1af4\n");
  put (host, "/run/udev/data/b254:0", "S:disk/by-path/x\nE:ID_SERIAL_SHORT=disk7\nE:ID_BUS=x\n");
  virtio = find (host, 254, 0);
  g_assert_cmpstr (virtio->transport, ==, "virtio");
  g_assert_null (virtio->model);
  g_assert_cmpstr (virtio->serial, ==, "disk7");
}

static void
test_btrfs (Host *host, gconstpointer data)
{
  g_autoptr (H2kAttached) other = NULL;
  g_autofree char *text = NULL;

  put_disk (host, "x", "sda", "8:0", 8);
  put_part (host, "sda", 1, "8:1");
  put_disk (host, "x", "sdb", "8:16", 8);
  put (host, "/sys/fs/btrfs/1111-2222/devices/sda1/dev", "8:1\n");
  put (host, "/sys/fs/btrfs/1111-2222/devices/sdb/dev", "8:16\n");
  put (host, "/proc/self/mountinfo",
       "22 1 0:30 /@ /srv rw - btrfs /dev/sda1 rw,subvol=/@\n"
       "23 1 0:30 /@a /a rw - btrfs /dev/sda1 rw,subvol=/@a\n"
       "24 1 0:30 /@b /b rw - btrfs /dev/sda1 rw,subvol=/@b\n"
       "25 1 0:30 /@c /c rw - btrfs /dev/sda1 rw,subvol=/@c\n");
  other = find (host, 8, 16);
  text = h2k_attached_users_text (other);
  g_assert_cmpstr (text, ==, "/dev/sdb: mounted on /srv, /a, /b and 1 more");
}

static void
test_broken (Host *host, gconstpointer data)
{
  g_autoptr (H2kAttached) disk = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_null (h2k_attached_list (host->root, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_clear_error (&error);
  put_disk (host, "x", "sda", "8:0", 8);
  put_disk (host, "x", "sdb", "8:x", 8);
  put_disk (host, "x", "sdc", "999999999999:0", 8);
  put (host, "/sys/block/sda/size", "18446744073709551615\n");
  put (host, "/sys/block/sda/queue/logical_block_size", "what\n");
  put (host, "/proc/self/mountinfo", "\n8:0\n22 1 8:0 /\n22 1 8:0 / /x rw - ext4\n - - - - - - -");
  put (host, "/proc/swaps", "\n\n/dev/\n\t\n");
  disk = find (host, 8, 0);
  g_assert_cmpuint (disk->size, <=, G_MAXINT64);
  g_assert_cmpuint (disk->logical_sector, ==, 512);
  g_assert_cmpuint (disk->users->len, ==, 0);
  g_assert_null (h2k_attached_of_dev (host->root, makedev (8, 16), &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
}

/* --- this host -------------------------------------------------------------------------------- */

typedef struct
{
  char *file, *device;
  int fd, loop;
} Loop;

/* A loop device with sectors of SECTOR bytes. FALSE: there can be none here. */
static gboolean
attach (Loop *loop, guint32 sector)
{
  struct loop_config config = {.block_size = sector};
  int control = open ("/dev/loop-control", O_RDWR | O_CLOEXEC), number;
  GError *error = NULL;

  loop->fd = loop->loop = -1;
  if (control < 0)
    return FALSE;
  loop->fd = g_file_open_tmp ("disk-XXXXXX", &loop->file, &error);
  g_assert_no_error (error);
  g_assert_cmpint (ftruncate (loop->fd, 64 << 20), ==, 0);
  config.fd = (guint)loop->fd;
  /* Somebody else may take the free one first. */
  for (guint tries = 0; tries < 20 && loop->loop < 0; tries++)
    {
      number = ioctl (control, LOOP_CTL_GET_FREE);
      g_free (loop->device);
      loop->device = g_strdup_printf ("/dev/loop%d", number);
      loop->loop = number < 0 ? -1 : open (loop->device, O_RDWR | O_CLOEXEC);
      if (loop->loop >= 0 && ioctl (loop->loop, LOOP_CONFIGURE, &config) != 0)
        {
          close (loop->loop);
          loop->loop = -1;
        }
    }
  close (control);
  return loop->loop >= 0;
}

static void
detach (Loop *loop)
{
  if (loop->loop >= 0)
    {
      ioctl (loop->loop, LOOP_CLR_FD, 0);
      close (loop->loop);
    }
  if (loop->fd >= 0)
    close (loop->fd);
  g_free (loop->file);
  g_free (loop->device);
}

static H2kAttached *
look (const char *path)
{
  g_autoptr (GError) error = NULL;
  H2kAttached *attached = h2k_attached_of_path ("", path, &error);

  g_assert_no_error (error);
  return attached;
}

static void
test_loop (void)
{
  static const guint32 sectors[] = {512, 4096};

  for (gsize i = 0; i < G_N_ELEMENTS (sectors); i++)
    {
      g_autoptr (H2kAttached) disk = NULL, file = NULL;
      g_autofree char *text = NULL, *expected = NULL;
      Loop loop = {0};
      if (!attach (&loop, sectors[i]))
        {
          detach (&loop);
          g_test_skip ("loop devices cannot be set up here");
          return;
        }
      disk = look (loop.device);
      g_assert_true (disk->is_device);
      g_assert_cmpstr (disk->transport, ==, "loop");
      g_assert_cmpuint (disk->logical_sector, ==, sectors[i]);
      g_assert_cmpuint (disk->size, ==, 64 << 20);
      g_assert_cmpstr (disk->backing_file, ==, loop.file);
      g_assert_cmpuint (disk->users->len, ==, 0);
      g_assert_cmpint (disk->open_errno, ==, 0);
      file = look (loop.file);
      text = h2k_attached_users_text (file);
      expected = g_strdup_printf ("%s: attached as %s", loop.file, loop.device);
      g_assert_cmpstr (text, ==, expected);
      detach (&loop);
    }
}

static void
test_exclusive (void)
{
  g_autoptr (H2kAttached) before = NULL, held = NULL;
  Loop loop = {0};
  int fd;

  if (!attach (&loop, 512))
    {
      detach (&loop);
      g_test_skip ("loop devices cannot be set up here");
      return;
    }
  before = look (loop.device);
  g_assert_cmpuint (before->users->len, ==, 0);
  fd = open (loop.device, O_RDONLY | O_EXCL | O_CLOEXEC);
  g_assert_cmpint (fd, >=, 0);
  held = look (loop.device);
  g_assert_cmpuint (held->users->len, ==, 1);
  g_assert_cmpuint (((H2kAttachedUser *)held->users->pdata[0])->uses, ==, H2K_USE_EXCLUSIVE);
  close (fd);
  detach (&loop);
}

/* A pool that the kernel has imported holds its devices, and leaves no other trace in sysfs. */
static void
test_zfs (void)
{
  g_autoptr (H2kAttached) held = NULL;
  g_autoptr (H2kDisk) sample = packed_disk ("zfs", "mirror", "disk1.zst");
  g_autofree guint8 *bytes = g_malloc (sample->size);
  g_autofree char *text = NULL, *expected = NULL;
  Loop loop = {0};
  int fd;

  if (!attach (&loop, 512))
    {
      detach (&loop);
      g_test_skip ("loop devices cannot be set up here");
      return;
    }
  g_assert_true (h2k_disk_pread (sample, 0, sample->size, bytes, NULL));
  g_assert_cmpint (h2k_pwrite_full (loop.loop, bytes, sample->size, 0), ==, 0);
  fd = open (loop.device, O_RDONLY | O_EXCL | O_CLOEXEC);
  g_assert_cmpint (fd, >=, 0);
  held = look (loop.device);
  text = h2k_attached_users_text (held);
  expected = g_strconcat (loop.device, ": ZFS pool tank", NULL);
  g_assert_cmpstr (text, ==, expected);
  g_assert_cmpuint (((H2kAttachedUser *)held->users->pdata[0])->uses, ==, H2K_USE_ZFS);
  close (fd);
  detach (&loop);
}

/* QEMU's lock on an image that it may write to. */
static void
test_qemu_lock (void)
{
  g_autofree char *path = NULL;
  g_autoptr (H2kAttached) before = NULL, held = NULL;
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};
  int fd = g_file_open_tmp ("disk-XXXXXX", &path, NULL);

  g_assert_cmpint (ftruncate (fd, 4096), ==, 0);
  before = look (path);
  g_assert_false (before->is_device);
  g_assert_cmpuint (before->users->len, ==, 0);
  g_assert_cmpint (fcntl (fd, F_OFD_SETLK, &lock), ==, 0);
  held = look (path);
  g_assert_cmpuint (held->users->len, ==, 1);
  g_assert_cmpuint (((H2kAttachedUser *)held->users->pdata[0])->uses, ==, H2K_USE_QEMU);
  close (fd);
}

static void
test_no_disk (void)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (h2k_attached_of_path ("", "/dev/null", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_clear_error (&error);
  g_assert_null (h2k_attached_of_path ("", g_get_tmp_dir (), &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_clear_error (&error);
  g_assert_null (h2k_attached_of_path ("", "/nonexistent/\x1b[1m", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_null (strchr (error->message, '\x1b'));
}

static void
add (const char *name, void (*function) (Host *, gconstpointer))
{
  g_autofree char *path = g_strconcat ("/attached/", name, NULL);

  g_test_add (path, Host, NULL, setup, function, teardown);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add ("a SATA disk is described from sysfs", test_sata);
  add ("what uses a disk is told partition by partition, through what is stacked", test_users);
  add ("a partition names its disk", test_partition);
  add ("of a multipath disk the paths are left out, and its partitions are some", test_multipath);
  add ("disks are listed by name, what is no disk is not", test_list);
  add ("model, serial number and by-id name of each kind", test_identity);
  add ("every device of a btrfs is mounted", test_btrfs);
  add ("what makes no sense in sysfs is passed over", test_broken);
  g_test_add_func ("/attached/loop devices with both sector sizes, and their files", test_loop);
  g_test_add_func ("/attached/a device that is held with O_EXCL is in use", test_exclusive);
  g_test_add_func ("/attached/a device that is held, of a ZFS pool", test_zfs);
  g_test_add_func ("/attached/an image that QEMU writes to is in use", test_qemu_lock);
  g_test_add_func ("/attached/what is no disk is refused", test_no_disk);
  return g_test_run ();
}
