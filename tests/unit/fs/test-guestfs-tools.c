/* test-guestfs-tools.c - what the filesystems' own checks say is understood: real runs of them
 * here, and what they say in cases that are hard to make.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/guestfs-tools.h"
#include "images.h"

static H2kFsCheck *
read_check (const char *type, guint status, const char *output)
{
  H2kFsCheck *check = h2k_fs_check_new ();

  h2k_guestfs_read_check (type, status, output, check);
  return check;
}

static void
assert_left (const char *type, guint status, const char *output, const char *reason)
{
  g_autoptr (H2kFsCheck) check = read_check (type, status, output);

  g_assert_false (check->checked);
  g_assert_nonnull (check->reason);
  if (!strstr (check->reason, reason))
    g_error ("\"%s\" instead of \"%s\"", check->reason, reason);
  g_assert_cmpuint (check->corruptions, ==, 0);
}

/* --- real runs -------------------------------------------------------------------------------- */

typedef struct
{
  const char *type;
  const char *make;   /* the command that makes "@/image" */
  const char *damage; /* and damages it; NULL: it stays as it is */
  const char *found;  /* part of the first finding; NULL: none */
} Run;

static const Run runs[] = {
    {"xfs", "mkfs.xfs -q -f @/image", NULL, NULL},
    {"xfs", "mkfs.xfs -q -f -m crc=0 @/image", NULL, NULL},
    {"xfs", "mkfs.xfs -q -f @/image", "xfs_db -x -c 'agf 1' -c 'write -d freeblks 17' @/image",
     "agf_freeblks 17"},
    {"xfs", "mkfs.xfs -q -f @/image", "xfs_db -x -c 'agi 0' -c 'write -d freecount 3' @/image",
     "agi_freecount 3"},
    {"xfs", "mkfs.xfs -q -f @/image",
     "xfs_db -x -c 'inode 128' -c 'write -d core.nlinkv2 9' @/image",
     "would have reset inode 128 nlinks from 9 to 2"},
    {"btrfs", "mkfs.btrfs -q -f @/image", NULL, NULL},
    {"btrfs", "mkfs.btrfs -q -f -R quota @/image", NULL, NULL},
    {"ext4", "mke2fs -q -F -t ext4 -L '1/2 files (' @/image", NULL, NULL},
    {"ext2", "mke2fs -q -F -t ext2 @/image", "debugfs -w -R 'sif <2> links_count 9' @/image",
     "Inode 2 ref count is 9, should be 3"},
    {"ext4", "mke2fs -q -F -t ext4 @/image", "debugfs -w -R 'freeb 20' @/image",
     "Block bitmap differences"},
    {"vfat", "mkfs.fat -F 32 @/image", NULL, NULL},
    {"vfat", "mkfs.fat -F 16 -s 64 @/image", /* one of the tables; of 64 reserved sectors */
     "sh -c 'echo x | dd of=@/image bs=1 seek=32772 conv=notrunc'", "FATs differ"},
};

/* xfs_repair has more to say of files than of devices. */
static void
drop_file_words (char **output)
{
  g_autoptr (GRegex) words = g_regex_new ("^Cannot get host filesystem geometry\\.\\n"
                                          "Repair may fail.*\\nthe image.*\\n",
                                          G_REGEX_MULTILINE, 0, NULL);
  char *rest = g_regex_replace_literal (words, *output, -1, 0, "", 0, NULL);

  g_free (*output);
  *output = rest;
}

static void
test_run (gconstpointer data)
{
  const Run *run = data;
  g_autoptr (H2kFsCheck) check = NULL;
  const char *command = h2k_guestfs_check_command (run->type);
  g_autofree char *output = NULL, *summary = NULL, *program = NULL;
  int status;

  program = g_strndup (command, strcspn (command, " "));
  if (!image_have (program))
    return;
  image_run (NULL, "rm -f @/image");
  image_must_run ("truncate -s 512M @/image");
  image_must_run ("%s", run->make);
  if (run->damage)
    image_must_run ("%s", run->damage);
  status = image_run (&output, "%s @/image", command);
  drop_file_words (&output);
  check = read_check (run->type, (guint)status, output);
  summary = h2k_fs_check_summary (check);

  g_test_message ("%s", summary);
  g_assert_true (check->checked);
  if (!run->found)
    g_assert_cmpuint (check->notes, ==, 0);
  g_assert_cmpint (status == 0, ==, run->found == NULL);
  g_assert_cmpint (check->corruptions == 0, ==, run->found == NULL);
  if (run->found && !strstr (summary, run->found))
    g_error ("\"%s\" is not in \"%s\"", run->found, summary);
}

/* --- words ------------------------------------------------------------------------------------ */

static void
test_no_verdict (void)
{
  assert_left ("xfs", 127, "/bin/sh: 1: xfs_repair: not found\n",
               "no xfs_repair (on Debian: the "
               "package libguestfs-xfs)");
  assert_left ("btrfs", 127, "", "no btrfs (");
  assert_left ("btrfs", 137, "[1/7] checking root items\n", "memory was too small");
  assert_left ("btrfs", 139, "[1/7] checking root items\nref mismatch\n", "signal 11");
  assert_left ("xfs", 1,
               "Phase 1 - find and verify superblock...\n"
               "Superblock has unknown compat/rocompat/incompat features (0x0/0x0/0x80).\n"
               "Using a more recent xfs_repair is recommended.\n"
               "Found unsupported filesystem features.  Exiting now.\n",
               "Found unsupported filesystem features");
  assert_left ("xfs", 1, "Only one AG detected - cannot validate filesystem geometry.\n",
               "Only one AG");
  assert_left ("btrfs", 1,
               "Opening filesystem to check...\n"
               "couldn't open because of unsupported option features (10000).\n"
               "ERROR: cannot open file system\n",
               "unsupported option features (10000)");
  g_assert_null (h2k_guestfs_check_command ("f2fs"));
}

/* A status without words is a finding all the same. */
static void
test_silent (void)
{
  g_autoptr (H2kFsCheck) check = read_check ("btrfs", 1, "");

  g_assert_true (check->checked);
  g_assert_cmpuint (check->corruptions, ==, 1);
  g_assert_nonnull (strstr (check->findings->pdata[0], "status 1"));
}

/* Quotas that were counted wrongly make btrfs check fail, and nothing is lost by them. */
static void
test_quotas (void)
{
  static const char quotas[] = "[6/7] checking root refs\n"
                               "[7/7] checking quota groups\n"
                               "Opening filesystem to check...\n"
                               "Counts for qgroup id: 0/258 are different\n"
                               "our:\t\treferenced 16384 referenced compressed 16384\n"
                               "disk:\t\treferenced 32768 referenced compressed 32768\n"
                               "found 147456 bytes used, error(s) found\n"
                               "total csum bytes: 0\n"
                               " referenced 16384\n";
  g_autofree char *worse
      = g_strconcat ("[2/7] checking extents\nref mismatch on [1 2]\n", quotas, NULL);
  g_autoptr (H2kFsCheck) check = read_check ("btrfs", 1, quotas);
  g_autoptr (H2kFsCheck) other = read_check ("btrfs", 1, worse);

  g_assert_true (check->checked);
  g_assert_cmpuint (check->corruptions, ==, 0);
  g_assert_cmpuint (check->notes, ==, 3);
  g_assert_cmpuint (other->corruptions, ==, 1);
  g_assert_cmpuint (other->notes, ==, 3);
}

/* What is only untidy, and what looks like the end and is not. */
static void
test_untidy (void)
{
  static const char dirty[] = "fsck.fat 4.2 (2021-01-31)\n"
                              "Dirty bit is set. Fs was not properly unmounted and some data may "
                              "be corrupt.\n"
                              " Automatically removing dirty bit.\n\n"
                              "Leaving filesystem unchanged.\n"
                              "/dev/sda: 0 files, 0/32695 clusters\n";
  static const char names[] = "fsck.fat 4.2 (2021-01-31)\n"
                              "Dirty bit is set.\n"
                              "/0 files, 1\n"
                              "/dev/sda: 1 files, 1/32695 clusters\n";
  g_autoptr (H2kFsCheck) check = read_check ("vfat", 1, dirty);
  g_autoptr (H2kFsCheck) other = read_check ("vfat", 1, names);

  g_assert_true (check->checked);
  g_assert_cmpuint (check->corruptions, ==, 0);
  g_assert_cmpuint (check->notes, ==, 1);
  g_assert_cmpuint (other->corruptions, ==, 1);
  g_assert_cmpstr (other->findings->pdata[0], ==, "/0 files, 1");
}

/* What a hostile filesystem makes them print is cut and escaped. */
static void
test_hostile (void)
{
  g_autoptr (GString) text = g_string_new ("Phase 3 - for each AG...\n");
  g_autoptr (H2kFsCheck) check = NULL;
  g_autofree char *summary = NULL;

  g_string_append (text, "entry \"\033[2J\xff\" in directory\r\n");
  for (guint i = 0; i < 1000; i++)
    g_string_append (text, "\xc3\xa9");
  for (guint i = 0; i < 100; i++)
    g_string_append_printf (text, "\nfree inode %u", i);
  check = read_check ("xfs", 1, text->str);
  summary = h2k_fs_check_summary (check);
  g_assert_cmpuint (check->corruptions, ==, 102);
  g_assert_cmpuint (check->findings->len, ==, H2K_FS_CHECK_FINDINGS);
  g_assert_null (strchr (summary, '\033'));
  g_assert_true (g_utf8_validate (summary, -1, NULL));
  g_assert_cmpuint (strlen (summary), <, 2000);
  g_assert_true (g_str_has_suffix (summary, "; and 82 more"));
}

int
main (int argc, char **argv)
{
  int code;

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (runs); i++)
    {
      g_autofree char *name = g_strdup_printf ("/fs/guestfs-tools/run/%u", i);
      g_test_add_data_func (name, &runs[i], test_run);
    }
  g_test_add_func ("/fs/guestfs-tools/no-verdict", test_no_verdict);
  g_test_add_func ("/fs/guestfs-tools/silent", test_silent);
  g_test_add_func ("/fs/guestfs-tools/quotas", test_quotas);
  g_test_add_func ("/fs/guestfs-tools/untidy", test_untidy);
  g_test_add_func ("/fs/guestfs-tools/hostile", test_hostile);
  code = g_test_run ();
  image_cleanup ();
  return code;
}
