/* test-initramfs.c - the initramfs repair on guests of every kind: what is added is what a kernel
 * would unpack (read back with the compression's own program and libarchive), and a second run
 * changes nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/initramfs-image.h"
#include "repair/payload.h"
#include "repair/repairs.h"

#include <archive.h>
#include <archive_entry.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION "6.1.0-test"
#define OLDER "5.10.0-test"
#define MODULES "/lib/modules/" VERSION
#define IMAGE "/boot/initrd.img-" VERSION

/* --- programs --------------------------------------------------------------------------------- */

static GBytes *
filter (const char *const *argv, GBytes *input)
{
  g_autoptr (GSubprocess) process
      = g_subprocess_newv (argv, G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE,
                           NULL);
  GBytes *out = NULL;

  if (!process || !g_subprocess_communicate (process, input, NULL, &out, NULL, NULL)
      || !g_subprocess_get_successful (process))
    g_error ("%s fails", argv[0]);
  return out;
}

/* --- a guest ---------------------------------------------------------------------------------- */

typedef struct
{
  char *file;
  H2kDisk *disk, *overlay;
  H2kFs *fs;
  H2kGuest guest;
} Fixture;

static void
put (Fixture *f, const char *path, const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) data = g_bytes_new (text, strlen (text));

  h2k_tree_write (f->guest.tree, path, data, 0644, &error);
  g_assert_no_error (error);
}

static void
add_kernel (Fixture *f, const char *version, gboolean initramfs)
{
  H2kKernel *kernel = g_new0 (H2kKernel, 1);

  kernel->version = g_strdup (version);
  kernel->image = g_strconcat ("/boot/vmlinuz-", version, NULL);
  kernel->initramfs = initramfs ? g_strconcat ("/boot/initrd.img-", version, NULL) : NULL;
  kernel->modules_dir = g_strconcat ("/lib/modules/", version, NULL);
  g_ptr_array_add (f->guest.kernels, kernel);
}

static void
kernel_free (gpointer data)
{
  H2kKernel *kernel = data;

  g_free (kernel->version);
  g_free (kernel->image);
  g_free (kernel->initramfs);
  g_free (kernel->modules_dir);
  g_free (kernel);
}

/* A root filesystem of SIZE with the module indexes of VERSION; modules end in SUFFIX. */
static Fixture *
fixture_new (guint64 size, const char *suffix)
{
  Fixture *f = g_new0 (Fixture, 1);
  g_autoptr (GError) error = NULL;
  g_autofree char *dep = NULL;
  int fd = g_file_open_tmp ("h2k-initramfs-XXXXXX", &f->file, &error);
  const char *mke2fs = g_file_test ("/sbin/mke2fs", G_FILE_TEST_EXISTS) ? "/sbin/mke2fs" : "mke2fs";
  const char *argv[] = {mke2fs, "-q", "-F", "-t", "ext4", f->file, NULL};
  g_autoptr (GBytes) nothing = g_bytes_new (NULL, 0);
  GString *text;

  g_assert_no_error (error);
  g_assert_cmpint (ftruncate (fd, (off_t)size), ==, 0);
  close (fd);
  g_bytes_unref (filter (argv, nothing));
  f->disk = h2k_disk_open (f->file, "raw", &error);
  g_assert_no_error (error);
  f->overlay = h2k_overlay_new (f->disk, NULL, 256 << 20);
  f->fs = h2k_fs_open (f->overlay, &error);
  g_assert_no_error (error);
  f->guest.tree = h2k_tree_new ();
  h2k_tree_mount (f->guest.tree, "/", f->fs);
  f->guest.kernels = g_ptr_array_new_with_free_func (kernel_free);

  /* "@" stands for the suffix. */
  text = g_string_new ("kernel/block/virtio_blk@: kernel/virtio/virtio@\n"
                       "kernel/virtio/virtio_pci@: kernel/virtio/virtio@\n"
                       "kernel/virtio/virtio@:\n"
                       "kernel/scsi/virtio_scsi@: kernel/scsi/scsi_mod@ kernel/virtio/virtio@\n"
                       "kernel/scsi/scsi_mod@:\n"
                       "kernel/scsi/sd_mod@: kernel/scsi/scsi_mod@\n"
                       "kernel/drivers/net/virtio_net@: kernel/virtio/virtio@\n"
                       "kernel/drivers/net/vmxnet3/vmxnet3@:\n"
                       "kernel/fs/ext4@:\n");
  g_string_replace (text, "@", suffix, 0);
  dep = g_string_free (text, FALSE);
  put (f, MODULES "/modules.dep", dep);
  put (f, MODULES "/modules.dep.bin", "binary index");
  put (f, MODULES "/modules.alias", "alias virtio:d00000002v* virtio_blk\n");
  put (f, MODULES "/modules.builtin", "kernel/built/in.ko\n");
  add_kernel (f, VERSION, TRUE);
  return f;
}

/* The modules of modules.dep, each with its own path as the content, packed by PACK if not NULL. */
static void
put_modules (Fixture *f, const char *const *pack)
{
  g_autoptr (GBytes) dep = h2k_tree_read (f->guest.tree, MODULES "/modules.dep", 0, NULL);
  g_autofree char *text = g_strndup (g_bytes_get_data (dep, NULL), g_bytes_get_size (dep));
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);

  for (char **line = lines; *line && **line; line++)
    {
      g_autofree char *name = g_strndup (*line, strcspn (*line, ":"));
      g_autofree char *path = g_strconcat (MODULES "/", name, NULL);
      g_autoptr (GBytes) plain = g_bytes_new (name, strlen (name));
      g_autoptr (GBytes) data = pack ? filter (pack, plain) : g_bytes_ref (plain);
      g_assert_true (h2k_tree_write (f->guest.tree, path, data, 0644, NULL));
    }
}

static void
fixture_free (Fixture *f)
{
  h2k_tree_free (f->guest.tree);
  h2k_fs_free (f->fs);
  h2k_disk_unref (f->overlay);
  h2k_disk_unref (f->disk);
  g_unlink (f->file);
  g_free (f->file);
  g_ptr_array_unref (f->guest.kernels);
  g_free (f);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Fixture, fixture_free)

static char *
get (Fixture *f, const char *path)
{
  g_autoptr (GBytes) data = h2k_tree_read_optional (f->guest.tree, path, 64 << 20, NULL);
  return data ? g_strndup (g_bytes_get_data (data, NULL), g_bytes_get_size (data)) : NULL;
}

static void
assert_file (Fixture *f, const char *path, const char *expected)
{
  g_autofree char *text = get (f, path);
  g_assert_cmpstr (text, ==, expected);
}

/* --- an initramfs ----------------------------------------------------------------------------- */

/* "path", "path=content" or "path>target"; a path that ends in "/" is a directory. */
static GBytes *
archive_of (const char *const *members)
{
  g_autoptr (H2kCpioWriter) writer = h2k_cpio_writer_new ();

  for (; *members; members++)
    {
      gsize n = strcspn (*members, "=>");
      g_autofree char *name = g_strndup (*members, n);
      g_autoptr (GBytes) content
          = (*members)[n] ? g_bytes_new_static (*members + n + 1, strlen (*members + n + 1)) : NULL;
      guint32 mode = (*members)[n] == '>' ? S_IFLNK | 0777 : S_IFREG | 0644;
      if (g_str_has_suffix (name, "/"))
        {
          name[strlen (name) - 1] = '\0';
          mode = S_IFDIR | 0755;
        }
      h2k_cpio_writer_add (writer, name, mode, content);
    }
  return h2k_cpio_writer_finish (writer);
}

typedef struct
{
  guint32 mode;
  char *text; /* content or target */
} Seen;

static void
seen_free (gpointer data)
{
  g_free (((Seen *)data)->text);
  g_free (data);
}

/* What libarchive finds in the one archive BYTES. */
static GHashTable *
list_archive (GBytes *bytes)
{
  GHashTable *members = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, seen_free);
  struct archive *a = archive_read_new ();
  struct archive_entry *entry;
  gsize size;
  const void *data = g_bytes_get_data (bytes, &size);

  archive_read_support_format_cpio (a);
  g_assert_cmpint (archive_read_open_memory (a, data, size), ==, ARCHIVE_OK);
  while (archive_read_next_header (a, &entry) == ARCHIVE_OK)
    {
      Seen *seen = g_new0 (Seen, 1);
      gsize n = (gsize)archive_entry_size (entry);
      seen->mode = archive_entry_mode (entry);
      seen->text
          = S_ISLNK (seen->mode) ? g_strdup (archive_entry_symlink (entry)) : g_malloc0 (n + 1);
      if (S_ISREG (seen->mode))
        g_assert_cmpint (archive_read_data (a, seen->text, n), ==, (gssize)n);
      g_assert_true (
          g_hash_table_insert (members, g_strdup (archive_entry_pathname (entry)), seen));
    }
  g_assert_null (archive_error_string (a));
  archive_read_free (a);
  return members;
}

static const struct Packer
{
  const char *name;
  const char *pack[4], *unpack[4];
} packers[] = {
    {"cpio", {"cat"}, {"cat"}},
    {"gzip", {"gzip", "-nc"}, {"gzip", "-dc"}},
    {"xz", {"xz", "--check=crc32", "-c"}, {"xz", "-dc"}},
    {"zstd", {"zstd", "-qc"}, {"zstd", "-dqc"}},
    {"lz4", {"lz4", "-lqc"}, {"lz4", "-dqc"}},
};

static const struct Packer *
packer (const char *name)
{
  for (guint i = 0; i < G_N_ELEMENTS (packers); i++)
    if (g_str_equal (packers[i].name, name))
      return &packers[i];
  g_assert_not_reached ();
}

static void
put_image (Fixture *f, const char *path, const char *const *members, const char *compression)
{
  g_autoptr (GBytes) plain = archive_of (members);
  g_autoptr (GBytes) packed = filter (packer (compression)->pack, plain);

  g_assert_true (h2k_tree_write (f->guest.tree, path, packed, 0600, NULL));
}

/* What was added to the image that put_image() made of the same; NULL: nothing. */
static GHashTable *
added (Fixture *f, const char *path, const char *const *members, const char *compression)
{
  g_autoptr (GBytes) first = archive_of (members);
  g_autoptr (GBytes) packed = h2k_tree_read (f->guest.tree, path, 0, NULL);
  g_autoptr (GBytes) plain = filter (packer (compression)->unpack, packed);
  gsize size = g_bytes_get_size (plain), start = g_bytes_get_size (first);
  g_autoptr (GBytes) rest = NULL;

  g_assert_cmpuint (size, >=, start);
  g_assert_true (memcmp (g_bytes_get_data (plain, NULL), g_bytes_get_data (first, NULL), start)
                 == 0);
  rest = g_bytes_new_from_bytes (plain, start, size - start);
  return size > start ? list_archive (rest) : NULL;
}

static void
assert_member (GHashTable *members, const char *name, const char *text)
{
  const Seen *seen = g_hash_table_lookup (members, name);

  if (!seen && text)
    g_error ("%s was not added", name);
  if (seen && !text)
    g_error ("%s was added", name);
  if (text)
    g_assert_cmpstr (seen->text, ==, text);
}

/* --- running ---------------------------------------------------------------------------------- */

static H2kRepairContext *
run (Fixture *f, GError **error)
{
  H2kRepairContext *context = h2k_repair_context_new (&f->guest, NULL);

  if (h2k_repair_initramfs.applies (context))
    h2k_repair_initramfs.run (context, error);
  return context;
}

static void
assert_warning (H2kRepairContext *context, const char *word)
{
  for (guint i = 0; i < context->warnings->len; i++)
    if (strstr (context->warnings->pdata[i], word))
      return;
  g_error ("no warning says \"%s\"", word);
}

static void
assert_second_run_changes_nothing (Fixture *f)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kRepairContext) context = run (f, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (context->changes->len, ==, 0);
}

/* Run, which must succeed with CHANGES, and a second time. */
static void
run_twice (Fixture *f, guint changes)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kRepairContext) context = run (f, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (context->changes->len, ==, changes);
  g_assert_cmpuint (context->warnings->len, ==, 0);
  assert_second_run_changes_nothing (f);
}

static void
assert_refused (Fixture *f, const char *word)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kRepairContext) context = run (f, &error);

  g_assert_error (error, H2K_ERROR, H2K_ERROR_REPAIR);
  if (!strstr (error->message, word))
    g_error ("\"%s\" does not say \"%s\"", error->message, word);
  g_assert_cmpuint (context->changes->len, ==, 0);
}

/* --- claims: kinds of guests ------------------------------------------------------------------ */

#define SIZE (24 << 20)

static const char *const tools_members[] = {
    "conf/",
    "conf/initramfs.conf=MODULES=list",
    "conf/modules=mptspi\next4",
    "lib>usr/lib",
    "usr/",
    "usr/lib/",
    "usr/lib/modules/",
    "usr/lib/modules/" VERSION "/",
    "usr/lib/modules/" VERSION "/kernel/",
    "usr/lib/modules/" VERSION "/kernel/fs/",
    "usr/lib/modules/" VERSION "/kernel/fs/ext4.ko=ext4",
    "usr/lib/modules/" VERSION "/kernel/scsi/",
    "usr/lib/modules/" VERSION "/kernel/scsi/sd_mod.ko=sd",
    "usr/lib/modules/" VERSION "/kernel/scsi/scsi_mod.ko=scsi",
    NULL,
};

static void
test_initramfs_tools (gconstpointer compression)
{
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
  g_autoptr (GHashTable) members = NULL;

  put_modules (f, NULL);
  put_image (f, IMAGE, tools_members, compression);
  put (f, "/etc/initramfs-tools/initramfs.conf", "# MODULES=most\nMODULES=most\n");
  put (f, "/etc/initramfs-tools/conf.d/driver-policy", "MODULES=list # few\n");
  put (f, "/etc/initramfs-tools/modules", "# comment\nmptspi\nvirtio-blk\n# sd_mod");
  run_twice (f, 2);

  members = added (f, IMAGE, tools_members, compression);
  assert_member (members, "conf/modules",
                 "mptspi\next4\nvirtio_pci\nvirtio_blk\nvirtio_scsi\nsd_mod\n");
  assert_member (members, "usr/lib/modules/" VERSION "/kernel/block/virtio_blk.ko",
                 "kernel/block/virtio_blk.ko");
  assert_member (members, "usr/lib/modules/" VERSION "/kernel/virtio/virtio.ko",
                 "kernel/virtio/virtio.ko");
  assert_member (members, "usr/lib/modules/" VERSION "/modules.dep.bin", "binary index");
  assert_member (members, "usr/lib/modules/" VERSION "/kernel/scsi/sd_mod.ko", NULL);
  assert_member (members, "usr/lib/modules/" VERSION "/kernel/drivers/net/virtio_net.ko", NULL);
  assert_member (members, "usr/lib/modules/" VERSION "/kernel/scsi", NULL);
  assert_member (members, "usr", NULL);
  assert_member (members, "lib", NULL);
  assert_file (f, "/etc/initramfs-tools/modules",
               "# comment\nmptspi\nvirtio-blk\n# sd_mod\nvirtio_pci\nvirtio_scsi\nsd_mod\n");
}

/* The image waits for the device that it resumes from: that is named by its UUID, too. */
static void
test_resume (void)
{
  static const char *const members_before[] = {
      "conf/",        "conf/initramfs.conf=RESUME=/dev/sdz9",    "conf/modules=mptspi",
      "conf/conf.d/", "conf/conf.d/resume=RESUME=\"/dev/sda5\"", NULL,
  };
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
  g_autoptr (GHashTable) members = NULL;
  g_autoptr (GPtrArray) volumes = g_ptr_array_new ();
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  H2kVolume partition = {.number = 5, .part_uuid = (char *)"3f2a9c1e-05"};
  H2kNode node = {.kind = H2K_NODE_PARTITION, .volume = &partition};
  H2kGuestVolume swap
      = {.node = &node, .volume = &partition, .id = {.type = "swap", .uuid = "0c4f8a0e-93c1"}};

  g_ptr_array_add (disks, f->overlay);
  g_ptr_array_add (volumes, &swap);
  f->guest.disks = disks;
  f->guest.volumes = volumes;
  put_modules (f, NULL);
  put_image (f, IMAGE, members_before, "gzip");
  run_twice (f, 1);

  members = added (f, IMAGE, members_before, "gzip");
  assert_member (members, "conf/conf.d/zzz-hyper2kvm", "RESUME=UUID=0c4f8a0e-93c1\n");
}

static const char *const dracut_members[] = {
    "lib/",
    "lib/dracut-lib.sh",
    "lib/systemd/",
    "lib/systemd/systemd",
    "lib/modules/",
    "lib/modules/" VERSION "/",
    "lib/modules/" VERSION "/kernel/",
    "lib/modules/" VERSION "/kernel/drivers/",
    "lib/modules/" VERSION "/kernel/drivers/net/",
    "lib/modules/" VERSION "/kernel/drivers/net/vmxnet3/",
    "lib/modules/" VERSION "/kernel/drivers/net/vmxnet3/vmxnet3.ko=vmxnet3",
    NULL,
};

static void
test_dracut (void)
{
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
  g_autoptr (GHashTable) members = NULL;

  put_modules (f, NULL);
  put_image (f, IMAGE, dracut_members, "gzip");
  put (f, "/etc/dracut.conf", "omit_drivers+=\" virtio floppy \"\n");
  put (f, "/etc/dracut.conf.d/01-dist.conf", "hostonly=yes\n");
  run_twice (f, 2);

  members = added (f, IMAGE, dracut_members, "gzip");
  assert_member (members, "lib/modules/" VERSION "/kernel/block/virtio_blk.ko",
                 "kernel/block/virtio_blk.ko");
  assert_member (members, "lib/modules/" VERSION "/kernel/drivers/net/virtio_net.ko",
                 "kernel/drivers/net/virtio_net.ko");
  assert_member (members, "lib/modules/" VERSION "/kernel/drivers", NULL);
  assert_member (members, "etc/cmdline.d/90-hyper2kvm.conf",
                 "rd.driver.pre=virtio_pci,virtio_blk,virtio_scsi,sd_mod,virtio_net\n");
  assert_member (members, "usr/lib/modules-load.d/hyper2kvm.conf",
                 "virtio_pci\nvirtio_blk\nvirtio_scsi\nsd_mod\nvirtio_net\n");
  assert_file (f, "/etc/dracut.conf.d/90-hyper2kvm.conf",
               "add_drivers+=\" virtio_pci virtio_blk virtio_scsi sd_mod virtio_net virtio \"\n");
}

static const char *const mkinitcpio_members[] = {
    "config=MODULES=\"ext4\"\n",
    "init_functions",
    "lib>usr/lib",
    "usr/",
    "usr/lib/",
    "usr/lib/modules/",
    "usr/lib/modules/" VERSION "/",
    "usr/lib/modules/" VERSION "/kernel/",
    "usr/lib/modules/" VERSION "/kernel/ext4.ko=ext4",
    NULL,
};

/* mkinitcpio unpacks the modules and puts them in another place: the guest's indexes then must
 * still lead to each of them. */
static void
test_mkinitcpio (void)
{
  static const char *const pack[] = {"zstd", "-qc", NULL};
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko.zst");
  g_autoptr (GHashTable) members = NULL;

  put_modules (f, pack);
  put_image (f, IMAGE, mkinitcpio_members, "zstd");
  put (f, "/etc/mkinitcpio.conf", "# MODULES=(x)\nMODULES=(ext4)\nHOOKS=(base udev)\n");
  run_twice (f, 2);

  members = added (f, IMAGE, mkinitcpio_members, "zstd");
  assert_member (members, "config",
                 "MODULES=\"ext4\"\n"
                 "MODULES=\"$MODULES virtio_pci virtio_blk virtio_scsi sd_mod\"\n");
  assert_member (members, "usr/lib/modules/" VERSION "/kernel/block/virtio_blk.ko.zst",
                 "kernel/block/virtio_blk.ko.zst");
  assert_member (members, "usr/lib/modules/" VERSION "/kernel/fs/ext4.ko.zst",
                 "/usr/lib/modules/" VERSION "/kernel/ext4.ko");
  assert_file (f, "/etc/mkinitcpio.conf",
               "# MODULES=(x)\nMODULES=(ext4 virtio_pci virtio_blk virtio_scsi sd_mod)\n"
               "HOOKS=(base udev)\n");
}

/* An image with compressed modules gets them as they are. */
static void
test_compressed_modules (void)
{
  static const char *const pack[] = {"xz", "-c", NULL};
  static const char *const names[] = {
      "conf/",
      "conf/initramfs.conf",
      "lib/",
      "lib/modules/",
      "lib/modules/" VERSION "/",
      "lib/modules/" VERSION "/kernel/",
      "lib/modules/" VERSION "/kernel/fs/",
      "lib/modules/" VERSION "/kernel/fs/ext4.ko.xz=ext4",
      NULL,
  };
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko.xz");
  g_autoptr (GHashTable) members = NULL;
  const Seen *blk;

  put_modules (f, pack);
  put_image (f, IMAGE, names, "xz");
  run_twice (f, 1);
  members = added (f, IMAGE, names, "xz");
  blk = g_hash_table_lookup (members, "lib/modules/" VERSION "/kernel/block/virtio_blk.ko.xz");
  g_assert_nonnull (blk);
  g_assert_true (memcmp (blk->text,
                         "\xfd"
                         "7zXZ",
                         5)
                 == 0);
}

static void
test_early_microcode (void)
{
  static const char *const early[] = {"kernel/", "kernel/x86/", "kernel/x86/microcode.bin=x", NULL};
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
  g_autoptr (GBytes) first = archive_of (early);
  g_autoptr (GBytes) plain = archive_of (tools_members);
  g_autoptr (GBytes) packed = filter (packer ("lz4")->pack, plain);
  g_autoptr (GBytes) before = NULL;

  put_modules (f, NULL);
  h2k_tree_write (f->guest.tree, IMAGE, first, 0600, NULL);
  g_assert_true (h2k_tree_append (f->guest.tree, IMAGE, packed, NULL));
  run_twice (f, 1);
  before = h2k_tree_read (f->guest.tree, IMAGE, 0, NULL);
  g_assert_true (memcmp (g_bytes_get_data (before, NULL), g_bytes_get_data (first, NULL),
                         g_bytes_get_size (first))
                 == 0);
}

static void
test_nothing_to_do (void)
{
  g_autoptr (Fixture) built_in = fixture_new (SIZE, ".ko");
  g_autoptr (Fixture) none = fixture_new (SIZE, ".ko");

  put (built_in, IMAGE, "not read at all");
  put (built_in, "/etc/initramfs-tools/initramfs.conf", "MODULES=list\n");
  put (built_in, MODULES "/modules.builtin",
       "kernel/virtio-pci.ko\nkernel/virtio_blk.ko\nkernel/virtio_scsi.ko\nkernel/sd_mod.ko\n"
       "kernel/virtio_net.ko\n");
  run_twice (built_in, 0);

  /* No initramfs, and an old kernel's built-in drivers known by its configuration. */
  g_ptr_array_set_size (none->guest.kernels, 0);
  add_kernel (none, OLDER, FALSE);
  put (none, "/boot/config-" OLDER,
       "CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\nCONFIG_SCSI_VIRTIO=y\nCONFIG_BLK_DEV_SD=y\n");
  run_twice (none, 0);
}

static const char *const unknown_members[] = {"init=#!/bin/nash", "lib/", NULL};
static const char *const udev_members[] = {"init", "sbin/", "sbin/udevd", "lib/", NULL};

static void
test_unknown_maker (void)
{
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
  g_autoptr (GHashTable) members = NULL;
  g_autoptr (H2kRepairContext) context = NULL;
  g_autoptr (GError) error = NULL;

  put_modules (f, NULL);
  put_image (f, IMAGE, unknown_members, "gzip");
  assert_refused (f, "not known");
  put_image (f, IMAGE, udev_members, "gzip");
  context = run (f, &error);
  g_assert_no_error (error);
  assert_warning (context, "not known");
  members = added (f, IMAGE, udev_members, "gzip");
  assert_member (members, "lib/modules/" VERSION "/kernel/block/virtio_blk.ko",
                 "kernel/block/virtio_blk.ko");
}

/* --- claims: refusals ------------------------------------------------------------------------- */

static void
test_missing_module (void)
{
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");

  put_modules (f, NULL);
  put_image (f, IMAGE, tools_members, "gzip");
  put (f, MODULES "/modules.dep", "kernel/virtio/virtio_pci.ko:\n");
  assert_refused (f, "kernel " VERSION " has no driver virtio_blk");

  /* In the index, but not there. */
  put (f, MODULES "/modules.dep",
       "kernel/virtio/virtio_pci.ko:\nkernel/block/virtio_blk.ko: kernel/gone.ko\n"
       "kernel/gone.ko:\nkernel/scsi/virtio_scsi.ko:\nkernel/scsi/sd_mod.ko:\n");
  assert_refused (f, "kernel/gone.ko");
}

/* The older kernel cannot be repaired: an error only if it is GRUB's default. */
static void
test_other_kernels (void)
{
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
  g_autoptr (H2kRepairContext) context = NULL;
  g_autoptr (GError) error = NULL;

  put_modules (f, NULL);
  put_image (f, IMAGE, tools_members, "gzip");
  add_kernel (f, OLDER, TRUE);
  put (f, "/lib/modules/" OLDER "/modules.dep", "");
  put (f, "/etc/default/grub", "GRUB_DEFAULT=saved\n");
  put (f, "/boot/grub/grubenv", "# GRUB Environment Block\nsaved_entry=0\n");
  context = run (f, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (context->changes->len, ==, 1);
  assert_warning (context, "kernel " OLDER " will not boot on virtio");

  put (f, "/boot/grub/grubenv",
       "# GRUB Environment Block\nsaved_entry=gnulinux-advanced-1>gnulinux-" OLDER "-advanced-1\n");
  assert_refused (f, "kernel " OLDER " has no driver virtio_pci");
}

static void
test_no_space (void)
{
  g_autoptr (Fixture) f = fixture_new (4 << 20, ".ko");
  g_autoptr (GBytes) filling = NULL;
  guint64 space;

  put_modules (f, NULL);
  put_image (f, IMAGE, tools_members, "gzip");
  space = h2k_tree_free_space (f->guest.tree, IMAGE);
  filling = g_bytes_new_take (g_malloc0 (space), space - (40 << 10));
  memset ((char *)g_bytes_get_data (filling, NULL), 'x', space - (40 << 10));
  g_assert_true (h2k_tree_write (f->guest.tree, "/filling", filling, 0644, NULL));
  assert_refused (f, "are free");
}

static void
test_damaged_image (void)
{
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
  g_autoptr (GBytes) image = NULL;
  g_autoptr (GBytes) cut = NULL;

  put_modules (f, NULL);
  put_image (f, IMAGE, tools_members, "zstd");
  image = h2k_tree_read (f->guest.tree, IMAGE, 0, NULL);
  cut = g_bytes_new_from_bytes (image, 0, g_bytes_get_size (image) - 10);
  h2k_tree_write (f->guest.tree, IMAGE, cut, 0600, NULL);
  assert_refused (f, IMAGE);
  put (f, IMAGE, "070701 or not");
  assert_refused (f, IMAGE);
  h2k_tree_remove (f->guest.tree, IMAGE, NULL);
  assert_refused (f, IMAGE);
}

static void
test_no_initramfs (void)
{
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
  H2kKernel *kernel = f->guest.kernels->pdata[0];

  g_clear_pointer (&kernel->initramfs, g_free);
  assert_refused (f, "no initramfs");
  g_free (kernel->image);
  kernel->image = g_strdup ("/boot/efi/EFI/Linux/debian-" VERSION ".efi");
  assert_refused (f, "unified kernel image");
}

/* The zeros behind lz4 data are the end of what a kernel before 5.14 reads. */
static void
test_old_lz4 (void)
{
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
  g_autoptr (GBytes) zeros = g_bytes_new_static ("\0\0\0\0", 4);
  H2kKernel *kernel = f->guest.kernels->pdata[0];

  put_modules (f, NULL);
  put_image (f, IMAGE, tools_members, "lz4");
  h2k_tree_append (f->guest.tree, IMAGE, zeros, NULL);
  g_free (kernel->version);
  kernel->version = g_strdup ("5.4.0-test");
  assert_refused (f, "lz4");
}

/* --- claims: configuration -------------------------------------------------------------------- */

static void
test_configuration (void)
{
  static const struct
  {
    const char *sign; /* also there */
    const char *path, *before, *after;
  } cases[] = {
      {NULL, "/etc/mkinitcpio.conf", "MODULES=()\n",
       "MODULES=(virtio_pci virtio_blk virtio_scsi sd_mod)\n"},
      {NULL, "/etc/mkinitcpio.conf", "MODULES=\"a sd-mod \"\r\n",
       "MODULES=\"a sd-mod virtio_pci virtio_blk virtio_scsi\"\r\n"},
      {NULL, "/etc/mkinitcpio.conf", "MODULES=(a\n  b)\nHOOKS=()",
       "MODULES=(a\n  b)\nHOOKS=()\nMODULES+=(virtio_pci virtio_blk virtio_scsi sd_mod)\n"},
      {NULL, "/etc/mkinitcpio.conf", "HOOKS=()\n",
       "HOOKS=()\nMODULES+=(virtio_pci virtio_blk virtio_scsi sd_mod)\n"},
      {NULL, "/etc/sysconfig/kernel", "A=b\nINITRD_MODULES=\"piix mptspi\"\n",
       "A=b\nINITRD_MODULES=\"piix mptspi virtio_pci virtio_blk virtio_scsi sd_mod\"\n"},
      {NULL, "/etc/sysconfig/kernel", "A=b\n", "A=b\n"},
      {"/etc/initramfs-tools/initramfs.conf", "/etc/initramfs-tools/modules", "# x\n", "# x\n"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
      put_modules (f, NULL);
      put_image (f, IMAGE, tools_members, "gzip");
      if (cases[i].sign)
        put (f, cases[i].sign, "MODULES=most\n");
      put (f, cases[i].path, cases[i].before);
      run_twice (f, g_str_equal (cases[i].before, cases[i].after) ? 1 : 2);
      assert_file (f, cases[i].path, cases[i].after);
    }
}

static void
test_omit_pattern (void)
{
  g_autoptr (Fixture) f = fixture_new (SIZE, ".ko");
  g_autoptr (H2kRepairContext) context = NULL;
  g_autoptr (GError) error = NULL;

  put_modules (f, NULL);
  put_image (f, IMAGE, dracut_members, "gzip");
  put (f, "/etc/dracut.conf.d/x.conf", "omit_drivers+=\" virtio.* \"\n");
  context = run (f, &error);
  g_assert_no_error (error);
  assert_warning (context, "virtio.*");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (packers); i++)
    {
      g_autofree char *path
          = g_strdup_printf ("/initramfs/initramfs-tools image in %s gets virtio", packers[i].name);
      g_test_add_data_func (path, packers[i].name, test_initramfs_tools);
    }
  g_test_add_func ("/initramfs/an image that resumes does so by UUID", test_resume);
  g_test_add_func ("/initramfs/dracut image without merged usr gets virtio", test_dracut);
  g_test_add_func ("/initramfs/mkinitcpio image with moved modules gets virtio", test_mkinitcpio);
  g_test_add_func ("/initramfs/compressed modules stay so", test_compressed_modules);
  g_test_add_func ("/initramfs/early microcode stays first", test_early_microcode);
  g_test_add_func ("/initramfs/built-in drivers need nothing", test_nothing_to_do);
  g_test_add_func ("/initramfs/an unknown maker needs udev", test_unknown_maker);
  g_test_add_func ("/initramfs/a missing module is an error", test_missing_module);
  g_test_add_func ("/initramfs/only the default kernel has to boot", test_other_kernels);
  g_test_add_func ("/initramfs/too little space is an error with numbers", test_no_space);
  g_test_add_func ("/initramfs/a damaged image is an error", test_damaged_image);
  g_test_add_func ("/initramfs/no initramfs and unified images are refused", test_no_initramfs);
  g_test_add_func ("/initramfs/lz4 with padding is refused on old kernels", test_old_lz4);
  g_test_add_func ("/initramfs/generators keep virtio", test_configuration);
  g_test_add_func ("/initramfs/a pattern that omits virtio is a warning", test_omit_pattern);
  return g_test_run ();
}
