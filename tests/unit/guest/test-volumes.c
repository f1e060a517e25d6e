/* test-volumes.c - a system on LVM, md and LUKS is found, mounted by its own names, and changed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../volume/lvm-images.h"
#include "../volume/samples.h"

#include "fs/usage.h"
#include "guest/guest.h"

#define VARIABLE "H2K_TEST_GUEST_KEY"

typedef struct
{
  const char *sample;
  const char *root;  /* as its fstab says */
  const char *other; /* another name of it */
  const char *spec;  /* fstab's first field as it was noted */
} Case;

static const Case cases[] = {
    {"lvm-linear", "/dev/mapper/vg--0-root", "/dev/vg-0/root", "/dev/mapper/vg--0-root"},
    {"lvm-striped", "UUID=11111111-2222-3333-4444-555555555555", "LABEL=ROOT",
     "UUID=11111111-2222-3333-4444-555555555555"},
    {"lvm-on-md1", "/dev/vg/root", "/dev/disk/by-id/dm-name-vg-root", "/dev/vg/root"},
    {"lvm-on-luks2", "/dev/mapper/vg-root", "/dev/vg/root", "/dev/mapper/vg-root"},
    {"luks2-on-lvm", "/dev/mapper/root_crypt",
     "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000002", "/dev/mapper/root_crypt"},
    {"luks1", "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000003",
     "/dev/disk/by-uuid/11111111-2222-3333-4444-555555555555",
     "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000003"},
};

static H2kGuest *
open_guest (GPtrArray *disks)
{
  g_autoptr (H2kKeys) keys = h2k_keys_new ();
  H2kGuestOptions options = {.keys = keys};
  g_autoptr (GError) error = NULL;
  H2kGuest *guest;

  g_setenv (VARIABLE, "correct horse", TRUE);
  g_assert_true (h2k_keys_add (keys, "all:env:" VARIABLE, NULL));
  guest = h2k_guest_open (disks, &options, &error);
  g_assert_no_error (error);
  return guest;
}

static void
assert_host (H2kGuest *guest, const char *name)
{
  g_autoptr (GBytes) data = h2k_tree_read (guest->tree, "/etc/hostname", 0, NULL);

  g_assert_nonnull (data);
  g_assert_cmpmem (g_bytes_get_data (data, NULL), g_bytes_get_size (data), name, strlen (name));
}

static void
test_case (gconstpointer data)
{
  const Case *c = data;
  g_autoptr (GPtrArray) disks = sample_load (c->sample);
  g_autoptr (GBytes) text = g_bytes_new_static ("changed\n", 8);

  for (guint pass = 0; pass < 2; pass++)
    {
      g_autoptr (H2kGuest) guest = open_guest (disks);
      gboolean stable = FALSE;

      g_assert_cmpstr (guest->pretty_name, ==, "Debian 12 on volumes");
      g_assert_cmpstr (guest->root->spec, ==, c->spec);
      g_assert_true (h2k_guest_find_volume (guest, c->root, &stable) == guest->root);
      g_assert_true (stable);
      g_assert_true (h2k_guest_find_volume (guest, c->other, &stable) == guest->root);
      g_assert_true (stable);
      assert_host (guest, pass == 0 ? "volumes\n" : "changed\n");
      g_assert_true (h2k_tree_write (guest->tree, "/etc/hostname", text, 0644, NULL));
      g_assert_true (h2k_tree_flush (guest->tree, NULL));
      sample_claim_clean (guest->root->volume->disk);
    }
}

static gboolean
mentions (GPtrArray *texts, const char *part)
{
  for (guint i = 0; i < texts->len; i++)
    if (strstr (texts->pdata[i], part))
      return TRUE;
  return FALSE;
}

/* Another logical volume is mounted where fstab says, a missing one is a warning; both outputs of
 * inspect name them. */
static void
test_mounts (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-linear");
  g_autoptr (H2kGuest) guest = open_guest (disks);
  const H2kGuestVolume *data = h2k_guest_find_volume (guest, "/dev/vg-0/data", NULL);
  g_autofree char *json = h2k_guest_to_json (guest), *text = h2k_guest_to_text (guest);

  g_assert_nonnull (data);
  g_assert_cmpstr (data->mountpoint, ==, "/data");
  g_assert_true (h2k_tree_is_file (guest->tree, "/data/numbers"));
  g_assert_true (mentions (guest->warnings, "mounts /gone from /dev/mapper/vg--0-gone"));
  g_assert_nonnull (strstr (json, "\"/dev/mapper/vg--0-root\""));
  g_assert_nonnull (strstr (json, "\"lies_on\""));
  g_assert_nonnull (strstr (text, "/dev/vg-0/root"));
  g_assert_nonnull (strstr (text, "disk 1, partition 1; disk 2"));
}

static guint n_flushed;

static gboolean
count_flush (H2kFs *fs, GError **error)
{
  n_flushed++;
  if (n_flushed == 1)
    return TRUE;
  g_set_error_literal (error, H2K_ERROR, H2K_ERROR_TOOL, "no flushing");
  return FALSE;
}

/* What fstab does not mount is flushed with the rest: it was looked at, and by an appliance that
 * may write to it as long as it has it mounted. */
static void
test_flush (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-linear");
  g_autoptr (GBytes) text = g_bytes_new_static ("/dev/vg-0/root / ext4 defaults 0 1\n", 35);

  {
    g_autoptr (H2kGuest) guest = open_guest (disks);

    g_assert_true (h2k_tree_write (guest->tree, "/etc/fstab", text, 0644, NULL));
    g_assert_true (h2k_guest_flush (guest, NULL));
  }
  {
    g_autoptr (H2kGuest) guest = open_guest (disks);
    const H2kGuestVolume *data = h2k_guest_find_volume (guest, "/dev/vg-0/data", NULL);
    g_autoptr (GError) error = NULL;
    const H2kFsOps *ops;
    H2kFsOps counted;

    g_assert_nonnull (data);
    g_assert_null (data->mountpoint);
    ops = data->fs->ops;
    counted = *ops;
    counted.flush = count_flush;
    data->fs->ops = &counted;
    g_assert_true (h2k_guest_flush (guest, NULL));
    g_assert_cmpuint (n_flushed, ==, 1);
    g_assert_false (h2k_guest_flush (guest, &error));
    g_assert_error (error, H2K_ERROR, H2K_ERROR_TOOL);
    g_assert_cmpstr (error->message, ==, "logical volume vg-0/data: no flushing");
    data->fs->ops = ops;
  }
}

/* Take what makes it a system from the filesystem on VOLUME. */
static void
remove_release (H2kDisk *volume)
{
  g_autoptr (H2kFs) fs = h2k_fs_open (volume, NULL);

  g_assert_nonnull (fs);
  g_assert_true (fs->ops->remove (fs, "/etc/os-release", NULL));
  g_assert_true (fs->ops->flush (fs, NULL));
}

/* The root directory of the ext4 on VOLUME is none. */
static void
spoil_root (H2kDisk *volume)
{
  static const guint8 zeros[128] = {0};
  guint8 super[1024], group[64];
  guint64 block, table;

  g_assert_true (h2k_disk_pread (volume, 1024, sizeof super, super, NULL));
  block = (guint64)1024 << h2k_le32 (super + 24);
  g_assert_true (
      h2k_disk_pread (volume, (h2k_le32 (super + 20) + 1) * block, sizeof group, group, NULL));
  table = h2k_le32 (group + 8) * block;
  g_assert_true (
      h2k_disk_pwrite (volume, table + h2k_le16 (super + 88), sizeof zeros, zeros, NULL));
}

/* What cannot be mounted is told of with its own reason. */
static void
test_damaged_root (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-linear");
  g_autoptr (H2kGuest) guest = open_guest (disks);

  spoil_root (h2k_guest_find_volume (guest, "/dev/vg-0/data", NULL)->volume->disk);
  h2k_guest_free (g_steal_pointer (&guest));
  guest = open_guest (disks);
  for (guint i = 0; i < guest->warnings->len; i++)
    g_test_message ("%s", (const char *)guest->warnings->pdata[i]);
  g_assert_true (mentions (guest->warnings, "/etc/fstab mounts /data from "));
  g_assert_false (mentions (guest->warnings, "subvolume"));
}

/* --- no system is found ------------------------------------------------------------------------
 */

/* Nothing of an appliance: what no driver here reads is not read. */
static GError *
open_in_vain (GPtrArray *disks)
{
  g_autoptr (H2kKeys) keys = h2k_keys_new ();
  H2kGuestOptions options = {.keys = keys, .backend = H2K_BACKEND_NATIVE};
  GError *error = NULL;

  g_assert_null (h2k_guest_open (disks, &options, &error));
  g_assert_nonnull (error);
  g_test_message ("%s", error->message);
  return error;
}

/* Behind an intact superblock everything else of the two filesystems is gone: that is no lack of a
 * system. */
static void
test_damaged (void)
{
  static const char *const names[] = {"/dev/vg-0/root", "/dev/vg-0/data"};
  g_autoptr (GPtrArray) disks = sample_load ("lvm-linear");
  g_autoptr (H2kStack) stack = h2k_stack_new (disks, NULL, NULL);
  g_autofree guint8 *noise = g_malloc (200 * 1024);
  g_autoptr (GError) error = NULL;

  memset (noise, 0xa5, 200 * 1024);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    g_assert_true (h2k_disk_pwrite (h2k_stack_find (stack, names[i])->volume->disk, 4096,
                                    200 * 1024, noise, NULL));
  error = open_in_vain (disks);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
  g_assert_nonnull (strstr (error->message, "logical volume vg-0/root (ext4): "));
  g_assert_nonnull (strstr (error->message, "logical volume vg-0/data (ext4): "));
}

/* The same when only a root folder's inode is damaged, which opening does not look at; what is
 * whole, but no system, is no reason. */
static void
test_damaged_folders (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-linear");
  g_autoptr (H2kStack) stack = h2k_stack_new (disks, NULL, NULL);
  g_autoptr (GError) error = NULL;

  remove_release (h2k_stack_find (stack, "/dev/vg-0/root")->volume->disk);
  remove_release (h2k_stack_find (stack, "/dev/vg-0/data")->volume->disk);
  error = open_in_vain (disks);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_NO_OS);
  g_clear_error (&error);
  spoil_root (h2k_stack_find (stack, "/dev/vg-0/data")->volume->disk);
  error = open_in_vain (disks);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
  g_assert_nonnull (strstr (error->message, "logical volume vg-0/data (ext4): "));
  g_assert_null (strstr (error->message, "vg-0/root"));
}

/* Nor is it silent that another system is taken than the one that was meant. */
static void
test_damaged_other (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-linear");
  g_autoptr (H2kStack) stack = h2k_stack_new (disks, NULL, NULL);
  g_autoptr (H2kGuest) guest = NULL;

  spoil_root (h2k_stack_find (stack, "/dev/vg-0/root")->volume->disk);
  guest = open_guest (disks);
  g_assert_cmpstr (guest->root->node->name, ==, "logical volume vg-0/data");
  g_assert_true (mentions (guest->warnings, "logical volume vg-0/root (ext4) may hold a system"));
}

/* What is there, but unknown, is named; a blank disk has no system, and that is all. */
static void
test_unknown (void)
{
  static const struct
  {
    guint64 offset;
    const char *bytes, *name;
    H2kError code;
  } steps[] = {
      {8192, "", "no operating system was found on 1 disk(s)", H2K_ERROR_NO_OS},
      {70000, "x", "disk 1 (unknown content): ", H2K_ERROR_UNSUPPORTED},
      {1024, "\x10\x20\xf5\xf2", "disk 1 (f2fs): ", H2K_ERROR_UNSUPPORTED},
  };
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);

  g_ptr_array_add (disks, h2k_memory_disk_new (8u << 20));
  for (guint i = 0; i < G_N_ELEMENTS (steps); i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_true (h2k_disk_pwrite (disks->pdata[0], steps[i].offset, strlen (steps[i].bytes) + 1,
                                      steps[i].bytes, NULL));
      error = open_in_vain (disks);
      g_assert_error (error, H2K_ERROR, (int)steps[i].code);
      g_assert_nonnull (strstr (error->message, steps[i].name));
    }
}

/* A pool that is read in part is no reason of its own, and the name of a volume is said once. */
static void
test_reasons (void)
{
  g_autoptr (GPtrArray) pool = sample_load ("lvm-thin-pool"), locked = sample_load ("luks1");
  g_autoptr (GError) error = NULL;

  g_ptr_array_remove_index (pool, 1);
  error = open_in_vain (pool);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_null (strstr (error->message, "no volume by itself"));
  g_clear_error (&error);
  error = open_in_vain (locked);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_null (strstr (error->message, "disk 1: disk 1"));
  g_assert_nonnull (strstr (error->message, ": disk 1 is a LUKS1 container"));
}

/* A name that counts partitions means those of disks, not a logical volume. */
static void
test_whole_disk (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-striped");
  g_autoptr (H2kGuest) guest = open_guest (disks);
  const H2kGuestVolume *disk = h2k_guest_find_volume (guest, "/dev/sda", NULL);

  g_assert_nonnull (disk);
  g_assert_cmpstr (disk->id.type, ==, "LVM2_member");
}

/* Without a key the message says which container is locked and what to give. */
static void
test_locked (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("luks2-on-lvm");
  g_autoptr (GError) error = NULL;

  g_assert_null (h2k_guest_open (disks, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (error->message, "logical volume vg/secret is a LUKS2 container"));
  g_assert_nonnull (strstr (error->message, "--key UUID=aaaaaaaa-0000-4000-8000-000000000002:"));
}

/* What the guest itself calls an array or a container is its first name, whether it would have been
 * one of its names anyway or not. */
static void
claim_given_name (const char *sample, const char *file, const char *line_of_uuid, const char *usual,
                  const char *given)
{
  g_auto (GStrv) parts = g_strsplit (line_of_uuid, "@", 2);
  g_autoptr (GPtrArray) disks = sample_load (sample);
  g_autofree char *text = NULL;

  {
    g_autoptr (H2kGuest) guest = open_guest (disks);
    const H2kNode *node = h2k_stack_find (guest->stack, usual);
    g_autoptr (GBytes) line = NULL;

    g_assert_nonnull (node);
    text = g_strjoinv (node->uuid, parts);
    line = g_bytes_new_static (text, strlen (text));
    g_assert_true (h2k_tree_write (guest->tree, file, line, 0644, NULL));
    g_assert_true (h2k_tree_flush (guest->tree, NULL));
  }
  {
    g_autoptr (H2kGuest) guest = open_guest (disks);
    const H2kNode *node = h2k_stack_find (guest->stack, usual);

    g_assert_nonnull (node);
    g_assert_cmpstr (node->names->pdata[0], ==, given);
    for (guint i = 1; i < node->names->len; i++)
      g_assert_cmpstr (node->names->pdata[i], !=, given);
    g_assert_true (h2k_stack_find (guest->stack, given) == node);
  }
}

static void
test_given_names (void)
{
  const char *usual = "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000003";

  claim_given_name ("lvm-on-md1", "/etc/mdadm.conf",
                    "# arrays\nARRAY /dev/md/renamed metadata=1.2 UUID=@\n", "/dev/md/system",
                    "/dev/md/renamed");
  claim_given_name ("lvm-on-md1", "/etc/mdadm.conf", "ARRAY /dev/md127 uuid=@ name=x\n",
                    "/dev/md/system", "/dev/md127");
  claim_given_name ("lvm-on-md1", "/etc/mdadm.conf",
                    "ARRAY /dev/md/other UUID=00000000:00000000:00000000:00000000\n#@\n",
                    "/dev/md/system", "/dev/md/system");
  claim_given_name ("luks1", "/etc/crypttab", "secret UUID=@ none luks\n", usual,
                    "/dev/mapper/secret");
  claim_given_name ("luks1", "/etc/crypttab", "# secret UUID=@ none luks\n", usual, usual);
}

/* With a disk missing the message says which. */
static void
test_missing (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-striped");
  g_autoptr (GError) error = NULL;

  g_ptr_array_remove_index (disks, 1);
  g_assert_null (h2k_guest_open (disks, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (error->message, "vg/root needs the physical volume "));
}

/* --- snapshots ---------------------------------------------------------------------------------
 */

/* A thin snapshot of the root is no second system: the origin is taken, also by what both have in
 * common, and the snapshot is told of. */
static void
test_thin_snapshot (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-thin");
  g_autoptr (H2kGuest) guest = open_guest (disks);
  const H2kGuestVolume *snapshot = h2k_guest_find_volume (guest, "/dev/vg/before", NULL);
  g_autofree char *json = h2k_guest_to_json (guest), *text = h2k_guest_to_text (guest);

  g_assert_cmpstr (guest->root->node->name, ==, "logical volume vg/root");
  assert_host (guest, "changed\n");
  g_assert_nonnull (snapshot);
  g_assert_true (snapshot != guest->root);
  g_assert_true (h2k_guest_find_volume (guest, "UUID=11111111-2222-3333-4444-555555555555", NULL)
                 == guest->root);
  g_assert_true (h2k_guest_find_volume (guest, "LABEL=ROOT", NULL) == guest->root);
  g_assert_true (mentions (guest->warnings, "logical volume vg/before is a snapshot of logical "
                                            "volume vg/root and no other system"));
  g_assert_nonnull (strstr (json, "\"snapshot_of\" : \"logical volume vg/root\""));
  g_assert_nonnull (strstr (text, "thin snapshot of /dev/vg/root"));
}

/* Two systems that are no snapshots of each other are still two. */
static void
test_two_systems (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-linear");
  g_autoptr (GPtrArray) more = sample_load ("lvm-on-md1");
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < more->len; i++)
    g_ptr_array_add (disks, h2k_disk_ref (more->pdata[i]));
  g_assert_null (h2k_guest_open (disks, NULL, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_NO_OS);
  g_assert_nonnull (strstr (error->message, "operating systems were found"));
}

/* The metadata area of the first physical volume of the sample "lvm-linear". */
#define LINEAR_AREA 0x101000u

/* Give the group of DISKS, by its metadata alone, N more volumes where the root is. */
static void
multiply_root (GPtrArray *disks, guint n)
{
  g_autofree char *text = lvm_text (disks->pdata[0], LINEAR_AREA);
  g_autoptr (GString) more = g_string_new (NULL);
  char *root = strstr (text, "\nroot {"), *end = root ? strstr (root, "\n}\n}\n") : NULL;
  g_autofree char *own = NULL;

  g_assert_nonnull (end);
  own = g_strndup (root, (gsize)(end - root) + strlen ("\n}\n}\n"));
  g_string_append (more, own);
  for (guint i = 0; i < n; i++)
    {
      g_autofree char *name = g_strdup_printf ("\nr%u {", i), *uuid = g_strdup_printf ("zq%04u", i);
      g_autoptr (GString) copy = g_string_new (own);

      g_assert_cmpuint (g_string_replace (copy, "\nroot {", name, 1), ==, 1);
      g_assert_cmpuint (g_string_replace (copy, "zqIBd3", uuid, 1), ==, 1);
      g_string_append (more, copy->str);
    }
  lvm_edit (disks->pdata[0], LINEAR_AREA, own, more->str);
  lvm_edit (disks->pdata[0], LINEAR_AREA, "seqno = 3", "seqno = 4");
}

/* Volumes that lie on the same blocks show one system as often as the metadata wants: a few are
 * told apart by their fstab, hundreds are refused in no time. */
static void
test_many_systems (void)
{
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (GPtrArray) disks = sample_load ("lvm-linear");
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kGuest) guest = NULL;

      multiply_root (disks, i == 0 ? 3 : 300);
      guest = h2k_guest_open (disks, NULL, &error);
      if (i == 0)
        {
          g_assert_no_error (error);
          g_assert_cmpstr (guest->root->node->name, ==, "logical volume vg-0/root");
          continue;
        }
      g_assert_error (error, H2K_ERROR, H2K_ERROR_NO_OS);
      g_test_message ("%s", error->message);
      g_assert_nonnull (strstr (error->message, "302 operating systems were found"));
      g_assert_nonnull (strstr (error->message, " and 286 more"));
    }
}

/* A change on a volume that is only read is refused with the reason, and what to do. */
static void
test_why_read_only (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-thin");
  g_autoptr (H2kGuest) guest = open_guest (disks);
  g_autoptr (GBytes) text = g_bytes_new_static ("changed\n", 8);
  g_autoptr (GError) error = NULL;

  g_assert_false (h2k_tree_write (guest->tree, "/etc/hostname", text, 0644, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message,
                            "logical volume vg/root: files on it can be read, but not "
                            "changed, because its blocks are a thin pool's"));
  g_assert_nonnull (strstr (error->message, "copy it in the guest to an ordinary volume"));
}

/* Nothing is written to DISKS: slices of them that cannot be. */
static GPtrArray *
read_only (GPtrArray *disks)
{
  static H2kDiskOps ops;
  GPtrArray *slices = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);

  for (guint i = 0; i < disks->len; i++)
    {
      H2kDisk *slice
          = h2k_slice_new (disks->pdata[i], 0, ((H2kDisk *)disks->pdata[i])->size, "given", NULL);
      g_assert_nonnull (slice);
      ops = *slice->ops;
      ops.pwrite = NULL;
      slice->ops = &ops;
      g_ptr_array_add (slices, slice);
    }
  return slices;
}

/* What could be changed is told of disks that are only looked at, too. */
static void
test_writable (void)
{
  static const struct
  {
    const char *sample, *device;
    guint disks;
    gboolean writable;
  } steps[] = {
      {"lvm-on-md1", "/dev/vg/root", 2, TRUE},
      {"lvm-on-md1", "/dev/vg/root", 1, FALSE},
      {"lvm-thin", "/dev/vg/root", 1, FALSE},
  };

  for (guint i = 0; i < G_N_ELEMENTS (steps); i++)
    {
      g_autoptr (GPtrArray) all = sample_load (steps[i].sample), disks = read_only (all);
      g_autoptr (H2kGuest) guest = NULL;
      g_autofree char *json = NULL;

      g_ptr_array_set_size (disks, (int)steps[i].disks);
      guest = open_guest (disks);
      json = h2k_guest_to_json (guest);
      g_assert_cmpint (h2k_guest_find_volume (guest, steps[i].device, NULL)->changeable, ==,
                       steps[i].writable);
      g_assert_cmpint (strstr (json, "\"writable\" : true") != NULL, ==, steps[i].writable);
    }
}

/* What cannot be read, and is not needed, is in the text, too. */
static void
test_not_read (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-linear"), more = sample_load ("md4");
  g_autoptr (H2kGuest) guest = NULL;
  g_autofree char *text = NULL;

  g_ptr_array_add (disks, h2k_disk_ref (more->pdata[0]));
  guest = open_guest (disks);
  text = h2k_guest_to_text (guest);
  g_assert_nonnull (strstr (text, "\nNot read: RAID array "));
  g_assert_nonnull (strstr (text, "of its 3 members the ones in the slots 1, 2 are missing"));
}

/* The layouts that inspect shows are LVM's own words. */
static void
test_layouts (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-linear");
  g_autoptr (H2kGuest) guest = open_guest (disks);
  g_autofree char *json = h2k_guest_to_json (guest), *text = h2k_guest_to_text (guest);

  g_assert_nonnull (strstr (json, "\"layout\" : \"linear\""));
  g_assert_null (strstr (json, "striped"));
  g_assert_nonnull (strstr (text, "linear"));
}

/* --- what is in use ----------------------------------------------------------------------------
 */

#define BLOCK 4096u

/* Whether every byte of DISK has been written to is not the question here: let it be so, from
 * behind what describes the volumes. */
static void
fill_zeros (H2kDisk *disk)
{
  guint8 block[BLOCK], noise[BLOCK];

  memset (noise, 0xa5, sizeof noise);
  for (guint64 at = 4u << 20; at + (1u << 20) < disk->size; at += BLOCK)
    {
      g_assert_true (h2k_disk_pread (disk, at, BLOCK, block, NULL));
      if (h2k_is_zero (block, BLOCK))
        g_assert_true (h2k_disk_pwrite (disk, at, BLOCK, noise, NULL));
    }
}

/* What of VIEW is to be copied; COPY gets it. */
static guint64
copy_view (H2kDisk *view, H2kDisk *copy)
{
  g_autofree guint8 *buffer = g_malloc (65536);
  guint64 sum = 0;
  H2kExtent extent;

  for (guint64 at = 0; at < view->size; at += extent.length)
    {
      g_assert_true (h2k_disk_extent (view, at, MIN (view->size, at + 65536), &extent, NULL));
      g_assert_true (h2k_disk_pread (view, at, (gsize)extent.length, buffer, NULL));
      if (extent.kind != H2K_EXTENT_DATA)
        g_assert_true (h2k_is_zero (buffer, (gsize)extent.length));
      else
        {
          sum += extent.length;
          g_assert_true (h2k_disk_pwrite (copy, at, (gsize)extent.length, buffer, NULL));
        }
    }
  return sum;
}

static guint64
total_size (GPtrArray *disks)
{
  guint64 sum = 0;

  for (guint i = 0; i < disks->len; i++)
    sum += ((const H2kDisk *)disks->pdata[i])->size;
  return sum;
}

/* With the key, or with all physical volumes, what the filesystems inside do not use is not copied,
 * and what is copied is the same system to another reader. By one disk alone all of it is. */
static void
test_used (gconstpointer data)
{
  const Case *c = data;
  g_autoptr (GPtrArray) disks = sample_load (c->sample);
  g_autoptr (GPtrArray) copies = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  g_autofree char *numbers = NULL;
  guint64 used = 0, plain = 0;

  for (guint i = 0; i < disks->len; i++)
    fill_zeros (disks->pdata[i]);
  {
    g_autoptr (H2kGuest) guest = open_guest (disks);
    g_autoptr (GBytes) text = h2k_tree_read (guest->tree, "/numbers", 0, NULL);

    g_assert_nonnull (text);
    numbers = g_strndup (g_bytes_get_data (text, NULL), g_bytes_get_size (text));
    for (guint i = 0; i < disks->len; i++)
      {
        H2kDisk *copy = h2k_memory_disk_new (((H2kDisk *)disks->pdata[i])->size);
        g_autoptr (H2kDisk) view = h2k_guest_used_view (guest, i, FALSE, NULL, NULL);
        g_autoptr (H2kDisk) alone = h2k_used_view_new (disks->pdata[i], FALSE, NULL, NULL);
        g_autoptr (H2kDisk) scratch = h2k_memory_disk_new (copy->size);

        g_assert_true (view && alone);
        used += copy_view (view, copy);
        plain += copy_view (alone, scratch);
        g_ptr_array_add (copies, copy);
      }
  }
  g_test_message ("%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT " bytes",
                  used, plain, total_size (disks));
  g_assert_cmpuint (used, <, plain);
  g_assert_cmpuint (used, <, total_size (disks) / 2);
  {
    g_autoptr (H2kGuest) guest = open_guest (copies);
    g_autoptr (GBytes) text = h2k_tree_read (guest->tree, "/numbers", 0, NULL);

    g_assert_nonnull (text);
    g_assert_cmpmem (g_bytes_get_data (text, NULL), g_bytes_get_size (text), numbers,
                     strlen (numbers));
    for (guint i = 0; i < guest->volumes->len; i++)
      {
        const H2kGuestVolume *volume = guest->volumes->pdata[i];
        if (strcmp (volume->id.type, "ext4") == 0)
          sample_claim_clean (volume->volume->disk);
      }
  }
}

/* Take what makes it a system from what is in the container of the sample "luks1" on DISK. */
static void
make_data (H2kDisk *disk)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  g_autoptr (H2kKeys) keys = h2k_keys_new ();
  g_autoptr (H2kStack) stack = NULL;

  g_ptr_array_add (disks, disk);
  g_setenv (VARIABLE, "correct horse", TRUE);
  g_assert_true (h2k_keys_add (keys, "all:env:" VARIABLE, NULL));
  stack = h2k_stack_new (disks, keys, NULL);
  remove_release (h2k_stack_find (stack, "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000003")
                      ->volume->disk);
}

/* A container is looked into when it is the only one of its UUID: of a copy nobody knows which one
 * was opened. */
static void
test_used_twins (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("luks2-on-lvm"), one = sample_load ("luks1");
  g_autoptr (GPtrArray) other = sample_load ("luks1");

  make_data (one->pdata[0]);
  make_data (other->pdata[0]);
  fill_zeros (one->pdata[0]);
  g_ptr_array_add (disks, h2k_disk_ref (one->pdata[0]));
  for (guint n = 1; n <= 2; n++)
    {
      g_autoptr (GPtrArray) notes = g_ptr_array_new_with_free_func (g_free);
      g_autoptr (H2kGuest) guest = open_guest (disks);
      g_autoptr (H2kDisk) view = h2k_guest_used_view (guest, 1, FALSE, notes, NULL);
      g_autoptr (H2kDisk) alone = h2k_used_view_new (one->pdata[0], FALSE, NULL, NULL);
      g_autoptr (H2kDisk) scratch = h2k_memory_disk_new (view->size);
      guint64 used = copy_view (view, scratch), whole = copy_view (alone, scratch);

      g_assert_true (n == 1 ? used + (2u << 20) < whole : used == whole);
      g_assert_cmpint (mentions (notes, "known with its key only"), ==, n == 2);
      g_ptr_array_add (disks, h2k_disk_ref (other->pdata[0]));
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *name = g_strdup_printf ("/guest-volumes/%s", cases[i].sample);
      g_test_add_data_func (name, &cases[i], test_case);
    }
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    if (strcmp (cases[i].sample, "lvm-striped") != 0 && strcmp (cases[i].sample, "lvm-on-md1") != 0)
      {
        g_autofree char *name = g_strdup_printf ("/guest-volumes/used/%s", cases[i].sample);
        g_test_add_data_func (name, &cases[i], test_used);
      }
  g_test_add_func ("/guest-volumes/used-twins", test_used_twins);
  g_test_add_func ("/guest-volumes/thin-snapshot", test_thin_snapshot);
  g_test_add_func ("/guest-volumes/two-systems", test_two_systems);
  g_test_add_func ("/guest-volumes/many-systems", test_many_systems);
  g_test_add_func ("/guest-volumes/why-read-only", test_why_read_only);
  g_test_add_func ("/guest-volumes/layouts", test_layouts);
  g_test_add_func ("/guest-volumes/writable", test_writable);
  g_test_add_func ("/guest-volumes/not-read", test_not_read);
  g_test_add_func ("/guest-volumes/mounts", test_mounts);
  g_test_add_func ("/guest-volumes/flush", test_flush);
  g_test_add_func ("/guest-volumes/damaged-root", test_damaged_root);
  g_test_add_func ("/guest-volumes/damaged", test_damaged);
  g_test_add_func ("/guest-volumes/damaged-folders", test_damaged_folders);
  g_test_add_func ("/guest-volumes/damaged-other", test_damaged_other);
  g_test_add_func ("/guest-volumes/unknown", test_unknown);
  g_test_add_func ("/guest-volumes/reasons", test_reasons);
  g_test_add_func ("/guest-volumes/whole-disk", test_whole_disk);
  g_test_add_func ("/guest-volumes/locked", test_locked);
  g_test_add_func ("/guest-volumes/given-names", test_given_names);
  g_test_add_func ("/guest-volumes/missing", test_missing);
  return g_test_run ();
}
