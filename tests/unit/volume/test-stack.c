/* test-stack.c - volumes that LVM, md and LUKS made are found, read, and written through.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "samples.h"

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
    {"lvm-linear", "/dev/vg-0/root", H2K_NODE_LV, "striped", 4000, TRUE},
    {"lvm-linear", "/dev/mapper/vg--0-data", H2K_NODE_LV, "striped", 1000, TRUE},
    {"lvm-striped", "/dev/vg/root", H2K_NODE_LV, "striped", 100000, TRUE},
    {"lvm-raid", "/dev/vg/mirrored", H2K_NODE_LV, "raid1", 3000, TRUE},
    {"lvm-raid", "/dev/vg/ten", H2K_NODE_LV, "raid10", 30000, TRUE},
    {"lvm-raid", "/dev/vg/origin", H2K_NODE_LV, "striped", 1000, FALSE},
    {"md0-1.2", "/dev/md127", H2K_NODE_MD, "raid0", 40000, TRUE},
    {"md1-0.90", "/dev/md127", H2K_NODE_MD, "raid1", 40000, TRUE},
    {"md1-1.0", "/dev/md/root", H2K_NODE_MD, "raid1", 40000, TRUE},
    {"md1-1.1", "/dev/md/root", H2K_NODE_MD, "raid1", 40000, TRUE},
    {"md10-near", "/dev/md/root", H2K_NODE_MD, "raid10", 40000, TRUE},
    {"md10-far", "/dev/md/root", H2K_NODE_MD, "raid10", 40000, TRUE},
    {"md10-offset", "/dev/md/root", H2K_NODE_MD, "raid10", 40000, TRUE},
    {"md10-odd", "/dev/md/root", H2K_NODE_MD, "raid10", 40000, TRUE},
    {"md-linear", "/dev/md/root", H2K_NODE_MD, "linear", 40000, TRUE},
    {"lvm-on-md1", "/dev/vg/root", H2K_NODE_LV, "striped", 20000, TRUE},
};

/* The same behind the key "correct horse". */
static const Case locked_cases[] = {
    {"luks1", "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000003", H2K_NODE_LUKS, "LUKS1", 4000,
     TRUE},
    {"luks2-on-lvm", "/dev/mapper/luks-aaaaaaaa-0000-4000-8000-000000000002", H2K_NODE_LUKS,
     "LUKS2", 4000, TRUE},
    {"lvm-on-luks2", "/dev/vg/root", H2K_NODE_LV, "striped", 4000, TRUE},
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

static void
assert_text_of (GPtrArray *texts, const char *part)
{
  for (guint i = 0; i < texts->len; i++)
    if (strstr (texts->pdata[i], part))
      return;
  g_error ("nothing says \"%s\"", part);
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
      n += node->kind == H2K_NODE_LV && node->volume->disk
           && h2k_stack_find (stack, node->names->pdata[node->names->len - 1]) == node;
    }
  g_assert_cmpuint (n, ==, 2);
  assert_text_of (stack->warnings, "two volume groups are called vg");
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

/* So is a thin volume. */
static void
test_thin (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("lvm-thin");
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *root = find_node (stack, "/dev/vg/root");

  g_assert_error (root->problem, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (root->problem->message, "thin volumes cannot be read"));
}

/* Without DISKS the array reads (LINES > 0) or says what it lacks; whether it is written depends on
 * its bitmap. */
static void
check_degraded (const char *sample, const char *which, guint lines, gboolean writable)
{
  g_autoptr (GPtrArray) disks = some_disks (sample, which);
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *node = find_node (stack, "/dev/md127");
  g_autofree char *numbers = sample_numbers (lines);
  g_autoptr (H2kFs) fs = NULL;

  g_test_message ("%s with %s", sample, which);
  if (lines == 0)
    {
      g_assert_error (node->problem, H2K_ERROR, H2K_ERROR_SOURCE);
      return;
    }
  fs = open_fs (node);
  assert_file (fs, "/numbers", numbers);
  g_assert_cmpint (h2k_disk_is_writable (node->volume->disk), ==, writable);
  assert_text_of (node->notes, "lacks members");
}

static void
test_degraded (void)
{
  check_degraded ("md0-1.2", "13", 0, FALSE);
  check_degraded ("md-linear", "1", 0, FALSE);
  check_degraded ("md1-0.90", "1", 40000, TRUE);
  check_degraded ("md1-0.90", "2", 40000, TRUE);
  check_degraded ("md1-1.0", "2", 40000, TRUE);
  check_degraded ("md10-near", "14", 40000, TRUE);
  check_degraded ("md10-near", "34", 0, FALSE);
  check_degraded ("md10-far", "24", 40000, TRUE);
  check_degraded ("md10-far", "34", 0, FALSE);
  check_degraded ("md10-offset", "32", 40000, TRUE);
  check_degraded ("md10-odd", "13", 40000, TRUE);
  check_degraded ("md10-odd", "1", 0, FALSE);
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

/* RAID 5 is refused with its name. */
static void
test_raid5 (void)
{
  g_autoptr (GPtrArray) disks = sample_load ("md5");
  g_autoptr (H2kStack) stack = open_stack (disks, NULL);
  const H2kNode *node = find_node (stack, "/dev/md/root");

  g_assert_cmpstr (node->type, ==, "raid5");
  g_assert_error (node->problem, H2K_ERROR, H2K_ERROR_UNSUPPORTED);
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
  g_test_add_func ("/stack/keys", test_keys);
  g_test_add_func ("/stack/key-forms", test_key_forms);
  g_test_add_func ("/stack/missing-pv", test_missing_pv);
  g_test_add_func ("/stack/twins", test_twins);
  g_test_add_func ("/stack/name-clash", test_name_clash);
  g_test_add_func ("/stack/snapshot", test_snapshot);
  g_test_add_func ("/stack/thin", test_thin);
  g_test_add_func ("/stack/degraded", test_degraded);
  g_test_add_func ("/stack/mirrored-write", test_mirrored_write);
  g_test_add_func ("/stack/raid5", test_raid5);
  g_test_add_func ("/stack/zones", test_zones);
  return g_test_run ();
}
