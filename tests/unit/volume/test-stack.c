/* test-stack.c - volumes that LVM, md and LUKS made are found, read, and written through.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "samples.h"

#include "volume/md.h"
#include "volume/stack.h"

#include <glib/gstdio.h>
#include <unistd.h>

/* A volume of a sample with a filesystem in which "numbers" counts to LINES. */
typedef struct
{
  const char *sample, *device;
  H2kNodeKind kind;
  const char *layout;
  guint lines;
  gboolean writable;
} Case;

static const Case cases[] = {
    {"lvm-linear", "/dev/vg-0/root", H2K_NODE_LV, "linear", 4000, TRUE},
    {"lvm-linear", "/dev/mapper/vg--0-data", H2K_NODE_LV, "linear", 1000, TRUE},
    {"lvm-striped", "/dev/vg/root", H2K_NODE_LV, "striped", 100000, TRUE},
    {"lvm-raid", "/dev/vg/mirrored", H2K_NODE_LV, "raid1", 3000, TRUE},
    {"lvm-raid", "/dev/vg/ten", H2K_NODE_LV, "raid10", 30000, TRUE},
    {"lvm-raid", "/dev/vg/origin", H2K_NODE_LV, "linear", 1000, FALSE},
    {"lvm-mirror", "/dev/vg/root", H2K_NODE_LV, "mirror", 10000, TRUE},
    {"lvm-mirror", "/dev/vg/core", H2K_NODE_LV, "mirror", 1000, FALSE},
    {"md0-1.2", "/dev/md127", H2K_NODE_MD, "raid0", 40000, TRUE},
    {"md1-0.90", "/dev/md127", H2K_NODE_MD, "raid1", 40000, TRUE},
    {"md1-1.0", "/dev/md/root", H2K_NODE_MD, "raid1", 40000, TRUE},
    {"md1-1.1", "/dev/md/root", H2K_NODE_MD, "raid1", 40000, TRUE},
    {"md10-near", "/dev/md/root", H2K_NODE_MD, "raid10", 40000, TRUE},
    {"md10-far", "/dev/md/root", H2K_NODE_MD, "raid10", 40000, TRUE},
    {"md10-offset", "/dev/md/root", H2K_NODE_MD, "raid10", 40000, TRUE},
    {"md10-odd", "/dev/md/root", H2K_NODE_MD, "raid10", 40000, TRUE},
    {"md-linear", "/dev/md/root", H2K_NODE_MD, "linear", 40000, TRUE},
    {"lvm-on-md1", "/dev/vg/root", H2K_NODE_LV, "linear", 20000, TRUE},
    {"lvm-thin", "/dev/vg/root", H2K_NODE_LV, "thin", 20000, FALSE},
    {"lvm-thin", "/dev/mapper/vg-before", H2K_NODE_LV, "thin", 20000, FALSE},
    {"lvm-thin-pool", "/dev/vg/root", H2K_NODE_LV, "thin", 20000, FALSE},
    {"md5", "/dev/md/root", H2K_NODE_MD, "raid5", 40000, TRUE},
    {"md5-la", "/dev/md/root", H2K_NODE_MD, "raid5", 40000, TRUE},
    {"md5-ra", "/dev/md/root", H2K_NODE_MD, "raid5", 40000, TRUE},
    {"md5-rs", "/dev/md/root", H2K_NODE_MD, "raid5", 40000, TRUE},
    {"md4", "/dev/md/root", H2K_NODE_MD, "raid4", 40000, TRUE},
};

/* The same behind the key "correct horse". */
static const Case locked_cases[] = {
    {"luks1", "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000003", H2K_NODE_LUKS, "LUKS1", 4000,
     TRUE},
    {"luks2-on-lvm", "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000002", H2K_NODE_LUKS,
     "LUKS2", 4000, TRUE},
    {"lvm-on-luks2", "/dev/vg/root", H2K_NODE_LV, "linear", 4000, TRUE},
};

static H2kStack *
open_stack (GPtrArray *disks, const H2kKeys *keys)
{
  g_autoptr (GError) error = NULL;
  H2kStack *stack = h2k_stack_new (disks, keys, &error);

  g_assert_no_error (error);
  return stack;
}

static H2kNode *
find_node (const H2kStack *stack, const char *device)
{
  H2kNode *node = h2k_stack_find (stack, device);

  if (!node)
    for (guint i = 0; i < stack->nodes->len; i++)
      {
        const H2kNode *other = stack->nodes->pdata[i];
        g_test_message ("%s (%s) %s", other->name, other->id.type,
                        other->problem ? other->problem->message : "");
      }
  g_assert_nonnull (node);
  return node;
}

static H2kFs *
open_fs (const H2kNode *node)
{
  g_autoptr (GError) error = NULL;
  H2kFs *fs;

  g_assert_no_error (node->problem);
  fs = h2k_fs_open (node->volume->disk, &error);
  g_assert_no_error (error);
  return fs;
}

/* PATH holds TEXT. */
static void
assert_file (H2kFs *fs, const char *path, const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) data = fs->ops->read (fs, path, 0, strlen (text) + 1, &error);
  gsize length;
  const char *got;

  g_assert_no_error (error);
  got = g_bytes_get_data (data, &length);
  g_assert_cmpuint (length, ==, strlen (text));
  g_assert_true (memcmp (got, text, length) == 0);
}

static void
write_file (H2kFs *fs, const char *path, const char *text)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (fs->ops->create (fs, path, 0100644, 0, 0, NULL, &error));
  g_assert_no_error (error);
  g_assert_true (fs->ops->write (fs, path, 0, text, strlen (text), &error));
  g_assert_no_error (error);
  g_assert_true (fs->ops->flush (fs, &error));
  g_assert_no_error (error);
}

/* What the sample's maker wrote is read; what is written lies on the disks, for another stack, too,
 * and e2fsck agrees. */
static void
check_case (const Case *c, const H2kKeys *keys)
{
  g_autoptr (GPtrArray) disks = sample_load (c->sample);
  g_autofree char *numbers = sample_numbers (c->lines);

  for (guint pass = 0; pass < 2; pass++)
    {
      g_autoptr (H2kStack) stack = open_stack (disks, keys);
      const H2kNode *node = find_node (stack, c->device);
      g_autoptr (H2kFs) fs = open_fs (node);

      g_assert_cmpint (node->kind, ==, c->kind);
      g_assert_cmpstr (node->type, ==, c->layout);
      g_assert_cmpint (h2k_disk_is_writable (node->volume->disk), ==, c->writable);
      assert_file (fs, "/numbers", numbers);
      if (c->writable && pass == 0)
        write_file (fs, "/added", numbers);
      if (c->writable)
        assert_file (fs, "/added", numbers);
      sample_claim_clean (node->volume->disk);
    }
}

static void
test_case (gconstpointer data)
{
  check_case (data, NULL);
}

/* --- keys --------------------------------------------------------------------------------------
 */

#define VARIABLE "H2K_TEST_STACK_KEY"

static H2kKeys *
keys_of (const char *spec, const char *value)
{
  H2kKeys *keys = h2k_keys_new ();

  g_setenv (VARIABLE, value, TRUE);
  g_assert_true (h2k_keys_add (keys, spec, NULL));
  return keys;
}

static void
test_locked_case (gconstpointer data)
{
  g_autoptr (H2kKeys) keys = keys_of ("all:env:" VARIABLE, "correct horse");

  check_case (data, keys);
}

/* The container of LUKS1 opens (or not) with a key given like this. */
static void
check_key (const char *spec, const char *value, gboolean opens, const char *why)
{
  g_autoptr (GPtrArray) disks = sample_load ("luks1");
  g_autoptr (H2kKeys) keys = spec ? keys_of (spec, value) : NULL;
  g_autoptr (H2kStack) stack = open_stack (disks, keys);
  const H2kNode *container = find_node (stack, "/dev/sda");

  g_test_message ("%s", spec ? spec : "no key");
  g_assert_cmpint (opens, ==, stack->nodes->len == 2);
  if (opens)
    g_assert_no_error (container->problem);
  else
    g_assert_nonnull (strstr (container->problem->message, why));
}

static void
assert_text_of (GPtrArray *texts, const char *part)
{
  for (guint i = 0; i < texts->len; i++)
    if (strstr (texts->pdata[i], part))
      return;
  g_error ("nothing says \"%s\"", part);
}

/* A key for nothing is told of even when another one opens the container; one for a container is
 * not. */
static void
test_stray_keys (void)
{
  static const char *const specs[] = {"/dev/sda:env:" VARIABLE, "UUID=1234:env:" VARIABLE};
  g_autoptr (GPtrArray) disks = sample_load ("luks1");
  g_autoptr (H2kKeys) keys = h2k_keys_new ();

  g_setenv (VARIABLE, "correct horse", TRUE);
  for (guint i = 0; i < G_N_ELEMENTS (specs); i++)
    {
      g_autoptr (H2kStack) stack = NULL;

      g_assert_true (h2k_keys_add (keys, specs[i], NULL));
      stack = open_stack (disks, keys);
      g_assert_cmpuint (stack->nodes->len, ==, 2);
      g_assert_cmpuint (stack->warnings->len, ==, i);
      if (i == 1)
        assert_text_of (stack->warnings, "a key was given for UUID=1234, but no encrypted volume");
    }
}

static void
test_keys (void)
{
  static const char uuid[] = "aaaaaaaa-0000-4000-8000-000000000003";
  static const char *const files[] = {"correct horse", "correct horse\n", "correct horse\nmore\n"};

  check_key (NULL, "", FALSE, "is locked: give its key with --key UUID=aaaaaaaa-0000-4000-8000");
  check_key ("all:env:" VARIABLE, "wrong", FALSE, "no key that was given opens it");
  check_key ("/dev/sda:env:" VARIABLE, "correct horse", TRUE, NULL);
  check_key ("/dev/vda:env:" VARIABLE, "correct horse", TRUE, NULL);
  check_key ("/dev/sdb:env:" VARIABLE, "correct horse", FALSE, "is locked");
  check_key ("UUID=AAAAAAAA-0000-4000-8000-000000000003:env:" VARIABLE, "correct horse", TRUE,
             NULL);
  check_key ("/dev/sdb:env:" VARIABLE, "correct horse", FALSE,
             "(a key was given for /dev/sdb, but no container");
  check_key ("/dev/mapper/sda_crypt:env:" VARIABLE, "correct horse", FALSE,
             "(a key was given for /dev/mapper/sda_crypt, but no container");
  check_key ("all:env:H2K_TEST_NOT_SET", "", FALSE, "is not set");
  check_key ("all:file:/nowhere", "", FALSE, "cannot read the key file /nowhere");
  for (guint i = 0; i < G_N_ELEMENTS (files); i++)
    {
      g_autofree char *path = NULL, *spec = NULL;
      int fd = g_file_open_tmp ("h2k-key-XXXXXX", &path, NULL);

      g_assert_cmpint (h2k_pwrite_full (fd, files[i], strlen (files[i]), 0), ==, 0);
      close (fd);
      spec = g_strdup_printf ("%s:file:%s", uuid, path);
      check_key (spec, "", TRUE, NULL);
      g_unlink (path);
    }
}

/* What is tried of a key file that holds CONTENT: WANTED, and WHOLE says whether all of it as well.
 */
static void
check_key_file (const char *content, gsize length, gsize wanted, gboolean whole)
{
  g_autofree char *path = NULL, *spec = NULL;
  int fd = g_file_open_tmp ("h2k-key-XXXXXX", &path, NULL);
  g_autoptr (GPtrArray) names = g_ptr_array_new (), secrets = NULL;
  g_autoptr (H2kKeys) keys = NULL;

  g_assert_cmpint (h2k_pwrite_full (fd, content, length, 0), ==, 0);
  close (fd);
  spec = g_strdup_printf ("all:file:%s", path);
  keys = keys_of (spec, "");
  secrets = h2k_keys_find (keys, names, NULL, NULL);
  g_unlink (path);
  g_assert_nonnull (secrets);
  g_assert_cmpuint (secrets->len, ==, whole ? 2 : 1);
  for (guint i = 0; i < secrets->len; i++)
    {
      gsize size;
      const void *data = g_bytes_get_data (secrets->pdata[i], &size);
      g_assert_cmpmem (data, size, content, i == 0 ? wanted : length);
    }
}

/* A key file is a key with its line's end, too: that is how cryptsetup and crypttab take it. */
static void
test_key_files (void)
{
  check_key_file ("secret", 6, 6, FALSE);
  check_key_file ("secret\n", 7, 6, TRUE);
  check_key_file ("secret\nmore", 11, 6, TRUE);
  check_key_file ("sec\0ret", 7, 7, FALSE);
}

static void
test_key_forms (void)
{
  static const char *const bad[]
      = {"", "secret", "all:secret", "file:x", ":file:x", "all:file:", "all:key:secret"};

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (H2kKeys) keys = h2k_keys_new ();
      g_autoptr (GError) error = NULL;

      g_assert_false (h2k_keys_add (keys, bad[i], &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_USAGE);
      g_assert_null (strstr (error->message, "secret"));
    }
}

/* --- what is missing ---------------------------------------------------------------------------
 */

/* Of the sample's disks only those in WHICH, by their numbers. */
static GPtrArray *
some_disks (const char *sample, const char *which)
{
  g_autoptr (GPtrArray) all = sample_load (sample);
  GPtrArray *disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);

  for (; *which; which++)
    g_ptr_array_add (disks, h2k_disk_ref (all->pdata[*which - '1']));
  return disks;
}

/* What lies on the physical volume that is there opens, the other says which one it needs. */
static void
test_missing_pv (void)
{
  g_autoptr (GPtrArray) disks = some_disks ("lvm-linear", "2");
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *root = find_node (stack, "/dev/vg-0/root");
  g_autoptr (H2kFs) fs = open_fs (find_node (stack, "/dev/vg-0/data"));
  g_autofree char *numbers = sample_numbers (1000);

  assert_file (fs, "/numbers", numbers);
  g_assert_null (root->volume->disk);
  g_assert_error (root->problem, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (root->problem->message, "PvAAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAA"));
  assert_text_of (stack->warnings, "lacks its physical volume PvAAAA");
}

/* None of STACK's volumes is a part of something, and each says why. */
static void
assert_problems (const H2kStack *stack, H2kError code, const char *text)
{
  for (guint i = 0; i < stack->nodes->len; i++)
    {
      const H2kNode *node = stack->nodes->pdata[i];

      g_assert_false (node->is_member);
      g_assert_error (node->problem, H2K_ERROR, (int)code);
      g_test_message ("%s", node->problem->message);
      g_assert_nonnull (strstr (node->problem->message, text));
    }
}

/* Nothing is left of the metadata areas of the physical volume DISK, at either end. */
static void
wipe_areas (H2kDisk *disk)
{
  g_autofree guint8 *zeros = g_malloc0 (1u << 20);

  g_assert_true (h2k_disk_pwrite (disk, 4096, (1u << 20) - 4096, zeros, NULL));
  g_assert_true (h2k_disk_pwrite (disk, disk->size - (1u << 20), 1u << 20, zeros, NULL));
}

/* Physical volumes that do not say what they belong to, and nobody else does. */
static void
test_no_metadata (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-striped");
  g_autoptr (H2kStack) stack = NULL;

  wipe_areas (disks->pdata[0]);
  stack = open_stack (disks, NULL);
  g_assert_no_error (find_node (stack, "/dev/vg/root")->problem);
  g_clear_pointer (&stack, h2k_stack_free);
  for (guint i = 0; i < disks->len; i++)
    wipe_areas (disks->pdata[i]);
  stack = open_stack (disks, NULL);
  g_assert_cmpuint (stack->nodes->len, ==, disks->len);
  assert_problems (stack, H2K_ERROR_FILESYSTEM,
                   "does not say which volume group it belongs to (a ");
}

/* A disk and its copy: neither is taken. */
static void
test_twins (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-striped"), more = sample_load ("lvm-striped");
  g_autoptr (H2kStack) stack = NULL;

  g_ptr_array_add (disks, h2k_disk_ref (more->pdata[0]));
  stack = open_stack (disks, NULL);
  g_assert_null (h2k_stack_find (stack, "/dev/vg/root"));
  assert_text_of (stack->warnings, "is there more than once");
  assert_problems (stack, H2K_ERROR_SOURCE, "is there more than once, on disk 1 and on disk 4 (is");
}

/* Two groups of one name: the name means neither, the UUID does. */
static void
test_name_clash (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-striped"), more = sample_load ("lvm-on-md1");
  g_autoptr (H2kStack) stack = NULL;
  guint n = 0;

  for (guint i = 0; i < more->len; i++)
    g_ptr_array_add (disks, h2k_disk_ref (more->pdata[i]));
  stack = open_stack (disks, NULL);
  g_assert_null (h2k_stack_find (stack, "/dev/vg/root"));
  for (guint i = 0; i < stack->nodes->len; i++)
    {
      const H2kNode *node = stack->nodes->pdata[i];
      g_autoptr (H2kFs) fs = NULL;

      if (node->kind != H2K_NODE_LV)
        continue;
      g_assert_true (h2k_stack_find (stack, node->names->pdata[0]) == node);
      g_assert_nonnull (strstr (node->name, node->uuid));
      fs = open_fs (node);
      assert_file (fs, "/etc/hostname", "volumes\n");
      n++;
    }
  g_assert_cmpuint (n, ==, 2);
  assert_text_of (stack->warnings, "two volume groups are called vg");
}

/* Make other bytes of what lies in the extents of the physical volume DISK. */
static void
spoil_extents (H2kDisk *disk)
{
  g_autofree guint8 *bytes = g_malloc (1u << 20);

  memset (bytes, 0xaa, 1u << 20);
  for (guint64 at = 1u << 20; at + (1u << 20) < disk->size; at += 1u << 20)
    g_assert_true (h2k_disk_pwrite (disk, at, 1u << 20, bytes, NULL));
}

/* A snapshot is refused with a reason; its origin reads. */
static void
test_snapshot (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-raid");
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *snap = find_node (stack, "/dev/vg/snap");

  g_assert_error (snap->problem, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (snap->problem->message, "is a snapshot"));
}

/* The log of a mirror: the hidden volume on the third disk, right behind the physical volume's
 * metadata. */
#define MIRROR_LOG (1u << 20)

/* A mirror of which the log does not say that its images are the same is its first one, which the
 * kernel would copy to the others; one that lacks an image is the other. Neither is written. */
static void
test_mirror (void)
{
  g_autofree char *numbers = sample_numbers (10000);
  guint8 bits;

  for (guint round = 0; round < 4; round++)
    {
      g_autoptr (GPtrArray) disks = sample_load ("lvm-mirror");
      g_autoptr (H2kStack) stack = NULL;
      g_autoptr (H2kFs) fs = NULL;
      const H2kNode *node;

      g_test_message ("round %u", round);
      g_assert_true (h2k_disk_pread (disks->pdata[2], MIRROR_LOG + 1024, 1, &bits, NULL));
      g_assert_cmpuint (bits & 7, ==, 7);
      if (round == 0) /* the second image, out of step */
        {
          g_assert_true (h2k_disk_pwrite (disks->pdata[2], MIRROR_LOG + 1024, 1, "\5", NULL));
          spoil_extents (disks->pdata[1]);
        }
      else if (round == 1) /* a log that is none */
        {
          g_assert_true (h2k_disk_pwrite (disks->pdata[2], MIRROR_LOG, 1, "x", NULL));
          spoil_extents (disks->pdata[1]);
        }
      else if (round == 2)
        g_ptr_array_remove_index (disks, 0);
      else /* both in step, and the first one there */
        spoil_extents (disks->pdata[1]);
      stack = open_stack (disks, NULL);
      node = find_node (stack, "/dev/vg/root");
      fs = open_fs (node);
      assert_file (fs, "/numbers", numbers);
      g_assert_cmpint (h2k_disk_is_writable (node->volume->disk), ==, round == 3);
      if (round < 3)
        assert_text_of (node->notes, "not all of its images are there and up to date");
    }
}

/* Neither the first image, nor a log that says that the other one is the same. */
static void
test_mirror_lost (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-mirror");
  g_autoptr (H2kStack) stack = NULL;
  const H2kNode *node;

  g_assert_true (h2k_disk_pwrite (disks->pdata[2], MIRROR_LOG + 1024, 1, "\5", NULL));
  g_ptr_array_remove_index (disks, 0);
  stack = open_stack (disks, NULL);
  node = find_node (stack, "/dev/vg/root");
  g_assert_error (node->problem, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_nonnull (strstr (node->problem->message, "needs the physical volume"));
}

/* The pool is none to read, its volumes are, each with what it had; nothing of them is written, and
 * the report says why and what to do. */
static void
test_thin (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-thin");
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *pool = find_node (stack, "/dev/vg/pool");
  const H2kNode *root = find_node (stack, "/dev/vg/root");
  const H2kNode *before = find_node (stack, "/dev/vg/before");
  g_autoptr (H2kFs) fs = open_fs (root), old = open_fs (before);
  g_autoptr (GError) error = NULL;

  g_assert_error (pool->problem, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (pool->problem->message, "is the pool of thin volumes"));
  assert_file (fs, "/etc/hostname", "changed\n");
  assert_file (old, "/etc/hostname", "volumes\n");
  g_assert_cmpuint (root->volume->disk->size, ==, 64u << 20);
  g_assert_false (h2k_disk_pwrite (root->volume->disk, 0, 1, "x", &error));
  g_assert_nonnull (error);
  assert_text_of (root->notes, "copy it in the guest to an ordinary volume");
  g_assert_true (before->origin == root);
  g_assert_null (root->origin);
  g_assert_true (h2k_node_is_snapshot_of (before, root));
  g_assert_false (h2k_node_is_snapshot_of (root, before));
}

/* What lvs says: of each kind of segment once, and of stripes whether there are several. */
static void
test_types (void)
{
  static const struct
  {
    const char *sample, *device, *type;
  } rows[] = {
      {"lvm-linear", "/dev/vg-0/root", "linear"}, {"lvm-striped", "/dev/vg/root", "striped"},
      {"lvm-raid", "/dev/vg/snap", "snapshot"},   {"lvm-thin", "/dev/vg/pool", "thin-pool"},
      {"lvm-raid", "/dev/vg/mirrored", "raid1"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      g_autoptr (GPtrArray) disks = sample_load (rows[i].sample);
      g_autoptr (H2kStack) stack = open_stack (disks, NULL);
      g_assert_cmpstr (find_node (stack, rows[i].device)->type, ==, rows[i].type);
    }
}

/* --- what Linux read ---------------------------------------------------------------------------
 */

static char *
digest_of (H2kDisk *disk)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  gsize step = 1u << 20;
  g_autofree guint8 *buffer = g_malloc (step);

  for (guint64 at = 0; at < disk->size; at += step)
    {
      gsize n = (gsize)MIN (step, disk->size - at);
      g_assert_true (h2k_disk_pread (disk, at, n, buffer, NULL));
      g_checksum_update (sum, buffer, (gssize)n);
    }
  return g_strdup (g_checksum_get_string (sum));
}

/* What is no data by its extents reads as zeros. */
static void
check_holes (H2kDisk *disk)
{
  g_autofree guint8 *buffer = g_malloc (65536);
  H2kExtent extent;

  for (guint64 at = 0; at < disk->size; at += extent.length)
    {
      g_assert_true (h2k_disk_extent (disk, at, disk->size, &extent, NULL));
      for (guint64 i = 0; extent.kind != H2K_EXTENT_DATA && i < extent.length; i += 65536)
        {
          gsize n = (gsize)MIN (65536, extent.length - i);
          g_assert_true (h2k_disk_pread (disk, at + i, n, buffer, NULL));
          g_assert_true (h2k_is_zero (buffer, n));
        }
    }
}

/* Every volume of the sample of which Linux said what it holds has that here, too. Of the arrays
 * among them that is so without any one member. */
static void
check_digests (GPtrArray *disks, const char *const *lines)
{
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);

  for (; *lines && **lines; lines++)
    {
      g_auto (GStrv) words = g_strsplit (*lines, "  ", 2);
      const H2kNode *node = find_node (stack, words[1]);
      g_autofree char *digest = NULL;

      g_test_message ("%s", words[1]);
      g_assert_no_error (node->problem);
      digest = digest_of (node->volume->disk);
      g_assert_cmpstr (digest, ==, words[0]);
      check_holes (node->volume->disk);
    }
}

static void
test_digests (gconstpointer data)
{
  const char *sample = data;
  g_autofree char *path
      = g_test_build_filename (G_TEST_DIST, "fixtures", "volumes", sample, "digests", NULL);
  g_autoptr (GPtrArray) disks = sample_load (sample);
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  lines = g_strsplit (text, "\n", -1);
  g_assert_cmpuint (g_strv_length (lines), >, 1);
  check_digests (disks, (const char *const *)lines);
  for (guint i = 0; g_str_has_prefix (sample, "md") && i < disks->len; i++)
    {
      g_autoptr (GPtrArray) some = g_ptr_array_new ();
      for (guint k = 0; k < disks->len; k++)
        if (k != i)
          g_ptr_array_add (some, disks->pdata[k]);
      check_digests (some, (const char *const *)lines);
    }
}

/* --- arrays that lack something ----------------------------------------------------------------
 */

/* With the disks WHICH the array reads (LINES > 0) or says what it lacks; it is not written, since
 * it counts the others as active. */
static void
check_degraded (const char *sample, const char *which, guint lines)
{
  g_autoptr (GPtrArray) disks = some_disks (sample, which);
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *node = find_node (stack, "/dev/md127");
  g_autofree char *numbers = sample_numbers (lines);
  g_autofree char *why = NULL;
  g_autoptr (H2kFs) fs = NULL;

  g_test_message ("%s with %s", sample, which);
  if (lines == 0)
    {
      g_assert_error (node->problem, H2K_ERROR, H2K_ERROR_SOURCE);
      g_assert_nonnull (strstr (node->problem->message, node->uuid));
      g_assert_nonnull (strstr (node->problem->message, "give every disk of the VM"));
      return;
    }
  fs = open_fs (node);
  assert_file (fs, "/numbers", numbers);
  g_assert_false (h2k_disk_is_writable (node->volume->disk));
  assert_text_of (node->notes, node->uuid);
  assert_text_of (node->notes, ", which it counts as active, are not given");
  why = h2k_node_why_read_only (node);
  g_assert_nonnull (why);
  g_assert_nonnull (strstr (why, "counts as active"));
}

/* A clone of one disk of a mirror: the other one never comes back, so it is written. What is made
 * up from parity is not. */
static void
check_alone (const char *sample, const char *which, gboolean written)
{
  g_autoptr (GPtrArray) disks = some_disks (sample, which);
  g_autoptr (GPtrArray) overlays = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  g_autoptr (H2kStack) stack = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *why = NULL;
  guint8 bytes[4096], back[4096];
  const H2kNode *node;

  for (guint i = 0; i < disks->len; i++)
    g_ptr_array_add (overlays, h2k_overlay_new (disks->pdata[i], NULL, 1 << 20));
  stack = h2k_stack_new_alone (overlays, NULL, TRUE, &error);
  g_assert_no_error (error);
  node = find_node (stack, "/dev/md127");
  why = h2k_node_why_read_only (node);
  g_assert_cmpint (why == NULL, ==, written);
  g_assert_cmpint (h2k_disk_is_writable (node->volume->disk), ==, written);
  assert_text_of (node->notes, "lacks members");
  if (!written)
    return;
  assert_text_of (node->notes, "must never be given to it");
  memset (bytes, 0x5a, sizeof bytes);
  g_assert_true (h2k_disk_pwrite (node->volume->disk, 1 << 20, sizeof bytes, bytes, &error));
  g_assert_true (h2k_disk_pread (node->volume->disk, 1 << 20, sizeof back, back, &error));
  g_assert_cmpmem (back, sizeof back, bytes, sizeof bytes);
}

static void
test_alone (void)
{
  check_alone ("md1-0.90", "1", TRUE);
  check_alone ("md1-0.90", "2", TRUE);
  check_alone ("md1-1.0", "2", TRUE);
  check_alone ("md10-near", "14", TRUE);
  check_alone ("md10-far", "24", TRUE);
  check_alone ("md5", "12", FALSE);
}

static void
test_degraded (void)
{
  check_degraded ("md0-1.2", "13", 0);
  check_degraded ("md-linear", "1", 0);
  check_degraded ("md1-0.90", "1", 40000);
  check_degraded ("md1-0.90", "2", 40000);
  check_degraded ("md1-1.0", "2", 40000);
  check_degraded ("md10-near", "14", 40000);
  check_degraded ("md10-near", "34", 0);
  check_degraded ("md10-far", "24", 40000);
  check_degraded ("md10-far", "34", 0);
  check_degraded ("md10-offset", "32", 40000);
  check_degraded ("md10-odd", "13", 40000);
  check_degraded ("md10-odd", "1", 0);
  check_degraded ("md5", "12", 40000);
  check_degraded ("md5", "13", 40000);
  check_degraded ("md5", "23", 40000);
  check_degraded ("md5", "2", 0);
  check_degraded ("md4", "13", 40000);
  check_degraded ("md4", "1", 0);
}

/* The message names the slots. */
static void
test_missing_members (void)
{
  g_autoptr (GPtrArray) some = some_disks ("md10-near", "34"), one = some_disks ("md0-1.2", "13");
  g_autoptr (H2kStack) first = open_stack (some, NULL), second = open_stack (one, NULL);

  g_assert_nonnull (strstr (find_node (first, "/dev/md/root")->problem->message,
                            "of its 4 members the ones in the slots 0, 1 are missing"));
  g_assert_nonnull (strstr (find_node (second, "/dev/md/root")->problem->message,
                            "its member in the slot 1 of 3 is missing"));
}

/* --- superblocks that were changed -------------------------------------------------------------
 */

/* Where the superblock of version 1.x of DISK is. */
static guint64
super_place (H2kDisk *disk)
{
  const guint64 places[] = {0, 4096, (disk->size / 512 - 16) / 8 * 8 * 512};
  guint8 magic[4];

  for (guint i = 0; i < G_N_ELEMENTS (places); i++)
    {
      g_assert_true (h2k_disk_pread (disk, places[i], 4, magic, NULL));
      if (h2k_le32 (magic) == 0xa92b4efc)
        return places[i];
    }
  g_assert_not_reached ();
}

/* Put VALUE in the WIDTH bytes at AT of the superblock of DISK. */
static void
edit_super (H2kDisk *disk, guint at, guint width, guint64 value)
{
  guint64 place = super_place (disk), sum = 0;
  guint8 sb[4096];
  guint32 folded;
  guint length;

  g_assert_true (h2k_disk_pread (disk, place, sizeof sb, sb, NULL));
  value = GUINT64_TO_LE (value);
  memcpy (sb + at, &value, width);
  memset (sb + 216, 0, 4);
  length = 256 + 2 * h2k_le32 (sb + 220);
  for (guint i = 0; i + 4 <= length; i += 4)
    sum += h2k_le32 (sb + i);
  if (length % 4)
    sum += h2k_le16 (sb + length / 4 * 4);
  folded = GUINT32_TO_LE ((guint32)sum + (guint32)(sum >> 32));
  memcpy (sb + 216, &folded, 4);
  g_assert_true (h2k_disk_pwrite (disk, place, sizeof sb, sb, NULL));
}

static guint64
super_value (H2kDisk *disk, guint at)
{
  guint8 value[8];

  g_assert_true (h2k_disk_pread (disk, super_place (disk) + at, sizeof value, value, NULL));
  return h2k_le64 (value);
}

/* Make everything but the superblock of DISK other than it was. */
static void
spoil (H2kDisk *disk)
{
  g_autofree guint8 *bytes = g_malloc (65536);
  guint64 place = super_place (disk);
  guint8 sb[4096];

  g_assert_true (h2k_disk_pread (disk, place, sizeof sb, sb, NULL));
  memset (bytes, 0xaa, 65536);
  for (guint64 at = 0; at < disk->size; at += 65536)
    g_assert_true (h2k_disk_pwrite (disk, at, (gsize)MIN (65536, disk->size - at), bytes, NULL));
  g_assert_true (h2k_disk_pwrite (disk, place, sizeof sb, sb, NULL));
}

enum
{
  SB_FEATURES = 8,
  SB_NUMBER = 160,
  SB_EVENTS = 200,
  SB_RESYNC = 208,
  SB_ROLES = 256,

  ROLE_FAULTY = 0xfffe,
};

/* The array of DISKS reads as it did, and the report says TEXT; whether it is written is WRITABLE.
 */
static void
claim_reads (GPtrArray *disks, const char *text, gboolean writable)
{
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *node = find_node (stack, "/dev/md/root");
  g_autoptr (H2kFs) fs = open_fs (node);
  g_autofree char *numbers = sample_numbers (40000);

  assert_file (fs, "/numbers", numbers);
  assert_text_of (node->notes, text);
  g_assert_cmpint (h2k_disk_is_writable (node->volume->disk), ==, writable);
}

static void
claim_refused (GPtrArray *disks, H2kError code, const char *text)
{
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *node = find_node (stack, "/dev/md/root");

  g_assert_error (node->problem, H2K_ERROR, (int)code);
  if (!strstr (node->problem->message, text))
    g_error ("\"%s\" does not say \"%s\"", node->problem->message, text);
}

/* A member that missed events is not believed; one that missed the last one alone is, as Linux
 * does it: that is how arrays stop. */
static void
test_stale (void)
{
  static const char *const samples[] = {"md1-1.0", "md5"};

  for (guint i = 0; i < G_N_ELEMENTS (samples); i++)
    {
      g_autoptr (GPtrArray) disks = sample_load (samples[i]);
      guint64 events = super_value (disks->pdata[0], SB_EVENTS);

      edit_super (disks->pdata[0], SB_EVENTS, 8, events - 1);
      {
        g_autoptr (H2kStack) stack = open_stack (disks, NULL);
        const H2kNode *node = find_node (stack, "/dev/md/root");
        g_assert_true (h2k_disk_is_writable (node->volume->disk));
        g_assert_cmpuint (node->notes->len, ==, 0);
      }
      edit_super (disks->pdata[0], SB_EVENTS, 8, events - 2);
      spoil (disks->pdata[0]);
      claim_reads (disks, "is out of date and was left out", i == 0);
      edit_super (disks->pdata[1], SB_EVENTS, 8, events + 9);
      if (i == 1)
        claim_refused (disks, H2K_ERROR_SOURCE,
                       "of its 3 members the ones in the slots 0, 2 are missing, out of date");
    }
}

/* One that missed the last event because it failed then is not believed, though its own superblock
 * does not say so: the others' do. */
static void
test_failed (void)
{
  static const char *const samples[] = {"md1-1.0", "md5"};

  for (guint i = 0; i < G_N_ELEMENTS (samples); i++)
    {
      g_autoptr (GPtrArray) disks = sample_load (samples[i]);
      guint number = (guint)(super_value (disks->pdata[0], SB_NUMBER) & 0xffffffff);

      edit_super (disks->pdata[0], SB_EVENTS, 8, super_value (disks->pdata[0], SB_EVENTS) - 1);
      for (guint k = 1; k < disks->len; k++)
        edit_super (disks->pdata[k], SB_ROLES + 2 * number, 2, ROLE_FAULTY);
      spoil (disks->pdata[0]);
      claim_reads (disks, "is out of date and was left out", i == 0);
    }
}

/* A member that the array itself has given up does not come back by itself: what is left is written
 * as before. */
static void
test_removed (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("md1-1.0");
  guint number = (guint)(super_value (disks->pdata[0], SB_NUMBER) & 0xffffffff);

  g_ptr_array_remove_index (disks, 0);
  claim_reads (disks, "the members in the slots 0 of 2 of the array ", FALSE);
  edit_super (disks->pdata[0], SB_ROLES + 2 * number, 2, ROLE_FAULTY);
  claim_reads (disks, "lacks members, those in the slots 0 of 2", TRUE);
}

/* A copy of a member: nobody knows which one is meant. */
static void
test_member_twice (void)
{
  g_autoptr (GPtrArray) disks = some_disks ("md1-1.0", "12"), more = sample_load ("md1-1.0");

  g_ptr_array_add (disks, h2k_disk_ref (more->pdata[1]));
  claim_refused (disks, H2K_ERROR_SOURCE, "its member in the slot 1 of 2 is there more than once");
}

/* What an array that cannot be read lacks is said once, not also what would be done about it. */
static void
test_no_notes (void)
{
  g_autoptr (GPtrArray) disks = some_disks ("md4", "1");
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *node = find_node (stack, "/dev/md/root");

  g_assert_error (node->problem, H2K_ERROR, H2K_ERROR_SOURCE);
  g_assert_cmpuint (node->notes->len, ==, 0);
}

/* The halves of a mirror that were used without each other: the one that is found first is read, as
 * mdadm does it, but nothing is written. */
static void
test_halves (void)
{
  g_autoptr (GPtrArray) disks = some_disks ("md1-1.0", "21");
  guint numbers[2];

  for (guint i = 0; i < 2; i++)
    numbers[i] = (guint)(super_value (disks->pdata[i], SB_NUMBER) & 0xffffffff);
  for (guint i = 0; i < 2; i++)
    edit_super (disks->pdata[i], SB_ROLES + 2 * numbers[1 - i], 2, ROLE_FAULTY);
  spoil (disks->pdata[1]);
  claim_reads (disks, "is out of date and was left out", FALSE);
  claim_reads (disks, "members were used without each other", FALSE);
}

/* A member with a list of bad blocks is not read, and nothing is written. */
static void
test_bad_blocks (void)
{
  static const char *const samples[] = {"md1-1.0", "md5"};

  for (guint i = 0; i < G_N_ELEMENTS (samples); i++)
    {
      g_autoptr (GPtrArray) disks = sample_load (samples[i]);
      guint64 features = super_value (disks->pdata[0], SB_FEATURES) & 0xffffffff;

      edit_super (disks->pdata[0], SB_FEATURES, 4, features | 8);
      spoil (disks->pdata[0]);
      claim_reads (disks, "bad blocks are noted on a member", FALSE);
      edit_super (disks->pdata[1], SB_FEATURES, 4, features | 8);
      claim_refused (disks, H2K_ERROR_SOURCE, "the ones in the slots 0, 1 are missing");
    }
}

/* RAID 5 that was not shut down cleanly: read while all members are there, refused when something
 * had to be made up for; a journal and another layout. */
static void
test_parity_states (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("md5"), some = g_ptr_array_new ();
  guint64 features = super_value (disks->pdata[0], SB_FEATURES) & 0xffffffff;

  for (guint i = 0; i < 3; i++)
    edit_super (disks->pdata[i], SB_RESYNC, 8, 0);
  claim_reads (disks, "the guest makes its parity anew", TRUE);
  g_ptr_array_add (some, disks->pdata[0]);
  g_ptr_array_add (some, disks->pdata[2]);
  claim_refused (some, H2K_ERROR_SOURCE,
                 "its members 1 of 3 are missing or out of date, and as it "
                 "was not shut down cleanly");
  for (guint i = 0; i < 3; i++)
    edit_super (disks->pdata[i], SB_FEATURES, 4, features | 1024);
  claim_reads (disks, "its partial parity log counts on", FALSE);
  for (guint i = 0; i < 3; i++)
    edit_super (disks->pdata[i], SB_FEATURES, 4, features | 512);
  claim_refused (disks, H2K_ERROR_UNSUPPORTED, "it has a write journal");
  for (guint i = 0; i < 3; i++)
    {
      edit_super (disks->pdata[i], SB_FEATURES, 4, features);
      edit_super (disks->pdata[i], 76, 4, 16);
    }
  claim_refused (disks, H2K_ERROR_FILESYSTEM, "its layout 0x10 is none");
}

/* What is written to RAID 5 is there without any one member, too: the parity followed. */
static void
check_parity_write (const char *sample)
{
  g_autoptr (GPtrArray) disks = sample_load (sample);
  g_autofree char *text = sample_numbers (60000);

  {
    g_autoptr (H2kStack) stack = open_stack (disks, NULL);
    g_autoptr (H2kFs) fs = open_fs (find_node (stack, "/dev/md/root"));
    write_file (fs, "/added", text);
  }
  for (guint i = 0; i < disks->len; i++)
    {
      g_autoptr (GPtrArray) some = g_ptr_array_new ();
      g_autoptr (H2kStack) stack = NULL;
      g_autoptr (H2kFs) fs = NULL;

      for (guint k = 0; k < disks->len; k++)
        if (k != i)
          g_ptr_array_add (some, disks->pdata[k]);
      stack = open_stack (some, NULL);
      fs = open_fs (find_node (stack, "/dev/md/root"));
      assert_file (fs, "/added", text);
      sample_claim_clean (find_node (stack, "/dev/md/root")->volume->disk);
    }
}

static void
test_parity_write (void)
{
  static const char *const samples[] = {"md5", "md5-ra"};

  for (guint i = 0; i < G_N_ELEMENTS (samples); i++)
    check_parity_write (samples[i]);
}

/* The superblock of version 0.90 as a machine with the other byte order writes it: every word of 32
 * bits the other way around, and the halves of the two numbers of 64 bits exchanged. */
static void
turn_super (H2kDisk *disk)
{
  guint64 place = disk->size / 65536 * 65536 - 65536;
  guint32 words[1024], half;

  g_assert_true (h2k_disk_pread (disk, place, sizeof words, words, NULL));
  for (guint i = 0; i < 1024; i++)
    words[i] = GUINT32_SWAP_LE_BE (words[i]);
  for (guint i = 39; i <= 41; i += 2)
    {
      half = words[i];
      words[i] = words[i + 1];
      words[i + 1] = half;
    }
  g_assert_true (h2k_disk_pwrite (disk, place, sizeof words, words, NULL));
}

static void
test_big_endian (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("md1-0.90");
  g_autoptr (H2kMdMember) little = h2k_md_member_read (disks->pdata[1], NULL), big = NULL;
  g_autofree char *numbers = sample_numbers (40000);

  for (guint i = 0; i < disks->len; i++)
    turn_super (disks->pdata[i]);
  big = h2k_md_member_read (disks->pdata[1], NULL);
  g_assert_nonnull (big);
  g_assert_cmpstr (big->version, ==, "0.90");
  g_assert_cmpstr (big->uuid, ==, little->uuid);
  g_assert_cmpuint (big->events, ==, little->events);
  g_assert_cmpuint (big->events, <, 1u << 20);
  g_assert_cmpuint (big->slot, ==, 1);
  g_assert_cmpuint (big->size, ==, little->size);
  {
    g_autoptr (H2kStack) stack = open_stack (disks, NULL);
    const H2kNode *node = find_node (stack, "/dev/md127");
    g_autoptr (H2kFs) fs = open_fs (node);
    assert_file (fs, "/numbers", numbers);
    g_assert_true (h2k_disk_is_writable (node->volume->disk));
  }
}

/* What is written is on every member: each of them alone has it. */
static void
test_mirrored_write (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("md1-1.0");

  {
    g_autoptr (H2kStack) stack = open_stack (disks, NULL);
    g_autoptr (H2kFs) fs = open_fs (find_node (stack, "/dev/md/root"));
    write_file (fs, "/added", "everywhere\n");
  }
  for (guint i = 0; i < 2; i++)
    {
      g_autoptr (GPtrArray) one = g_ptr_array_new ();
      g_autoptr (H2kStack) stack = NULL;
      g_autoptr (H2kFs) fs = NULL;

      g_ptr_array_add (one, disks->pdata[i]);
      stack = open_stack (one, NULL);
      fs = open_fs (find_node (stack, "/dev/md/root"));
      assert_file (fs, "/added", "everywhere\n");
    }
}

/* RAID 6 is refused with its level and with what to do. */
static void
test_raid6 (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("md5");

  for (guint i = 0; i < disks->len; i++)
    edit_super (disks->pdata[i], 72, 4, 6);
  claim_refused (disks, H2K_ERROR_UNSUPPORTED, "arrays of level 6 cannot be read: copy it");
}

/* Each chunk of an array with members of several sizes says its own number. */
static void
test_zones (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("md0-zones");
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *node = find_node (stack, "/dev/md/root");
  guint64 n;

  g_assert_no_error (node->problem);
  n = node->volume->disk->size / 65536;
  g_assert_cmpuint (n, >, 700);
  for (guint64 i = 16; i < n; i++)
    {
      g_autofree char *expected = g_strdup_printf ("chunk %09" G_GUINT64_FORMAT "\n", i);
      char got[16];

      g_assert_true (h2k_disk_pread (node->volume->disk, i * 65536, sizeof got, got, NULL));
      g_assert_cmpmem (got, sizeof got, expected, strlen (expected));
    }
}

/* --- all ---------------------------------------------------------------------------------------
 */

static const char *const with_digests[] = {"lvm-thin-pool", "md5-la", "md5-ra", "md5-rs", "md4"};

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *name = g_strdup_printf ("/stack/%s%s", cases[i].sample, cases[i].device);
      g_test_add_data_func (name, &cases[i], test_case);
    }
  for (guint i = 0; i < G_N_ELEMENTS (locked_cases); i++)
    {
      g_autofree char *name = g_strdup_printf ("/stack/%s", locked_cases[i].sample);
      g_test_add_data_func (name, &locked_cases[i], test_locked_case);
    }
  for (guint i = 0; i < G_N_ELEMENTS (with_digests); i++)
    {
      g_autofree char *name = g_strdup_printf ("/stack/digests/%s", with_digests[i]);
      g_test_add_data_func (name, with_digests[i], test_digests);
    }
  g_test_add_func ("/stack/keys", test_keys);
  g_test_add_func ("/stack/stray-keys", test_stray_keys);
  g_test_add_func ("/stack/key-files", test_key_files);
  g_test_add_func ("/stack/key-forms", test_key_forms);
  g_test_add_func ("/stack/missing-pv", test_missing_pv);
  g_test_add_func ("/stack/no-metadata", test_no_metadata);
  g_test_add_func ("/stack/twins", test_twins);
  g_test_add_func ("/stack/name-clash", test_name_clash);
  g_test_add_func ("/stack/snapshot", test_snapshot);
  g_test_add_func ("/stack/thin", test_thin);
  g_test_add_func ("/stack/mirror", test_mirror);
  g_test_add_func ("/stack/mirror-lost", test_mirror_lost);
  g_test_add_func ("/stack/types", test_types);
  g_test_add_func ("/stack/degraded", test_degraded);
  g_test_add_func ("/stack/a-mirror-alone-is-written", test_alone);
  g_test_add_func ("/stack/removed", test_removed);
  g_test_add_func ("/stack/member-twice", test_member_twice);
  g_test_add_func ("/stack/no-notes", test_no_notes);
  g_test_add_func ("/stack/mirrored-write", test_mirrored_write);
  g_test_add_func ("/stack/raid6", test_raid6);
  g_test_add_func ("/stack/missing-members", test_missing_members);
  g_test_add_func ("/stack/stale", test_stale);
  g_test_add_func ("/stack/failed", test_failed);
  g_test_add_func ("/stack/halves", test_halves);
  g_test_add_func ("/stack/bad-blocks", test_bad_blocks);
  g_test_add_func ("/stack/parity-states", test_parity_states);
  g_test_add_func ("/stack/parity-write", test_parity_write);
  g_test_add_func ("/stack/big-endian", test_big_endian);
  g_test_add_func ("/stack/zones", test_zones);
  return g_test_run ();
}
