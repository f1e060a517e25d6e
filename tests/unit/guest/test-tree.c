/* test-tree.c - links never lead out of the tree, mounts hide what is under them, and what is
 * written keeps or inherits what it should.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disks.h"
#include "guest/guest.h"

#include <sys/stat.h>

static TestDisks *disks;
static H2kGuest *guest;
static H2kTree *tree;

static void
claim_resolves (const char *path, const char *expected)
{
  g_autofree char *found = h2k_tree_resolve (tree, path, FALSE);

  g_test_message ("%s", path);
  g_assert_cmpstr (found, ==, expected);
}

static void
test_links_stay_inside (void)
{
  claim_resolves ("/", "/");
  claim_resolves ("//etc/./fstab", "/etc/fstab");
  claim_resolves ("/../../etc/fstab", "/etc/fstab");
  claim_resolves ("/lib/modules", "/usr/lib/modules");
  claim_resolves ("/links/absolute", "/etc/passwd");
  claim_resolves ("/links/up", "/etc/passwd");
  claim_resolves ("/links/dir/passwd", "/etc/passwd");
  claim_resolves ("/links/dir/../links", "/links");
  claim_resolves ("/links/chain", "/etc/passwd");
  claim_resolves ("/links/into-boot/file", "/boot/file");
  claim_resolves ("/links/dangling", NULL);
  claim_resolves ("/links/loop", NULL);
  claim_resolves ("/links/loop/x", NULL);
  claim_resolves ("/etc/passwd/x", NULL);
  claim_resolves ("/etc/passwd/../fstab", NULL);
}

static void
test_loops_are_errors (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GError) gone = NULL;
  H2kStat st;

  g_assert_false (h2k_tree_stat (tree, "/links/loop", &st, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FAILED);
  g_assert_true (h2k_tree_lstat (tree, "/links/loop", &st, NULL));
  g_assert_true (S_ISLNK (st.mode));
  g_assert_false (h2k_tree_stat (tree, "/links/dangling", &st, &gone));
  g_assert_error (gone, H2K_ERROR, H2K_ERROR_FAILED);
}

static void
test_mounts_hide (void)
{
  g_assert_true (h2k_tree_is_file (tree, "/boot/file"));
  g_assert_true (h2k_tree_is_file (tree, "/boot/inner/deep"));
  /* ".." from a mounted root is the directory above it. */
  claim_resolves ("/boot/inner/../file", "/boot/file");
  claim_resolves ("/boot/../etc/fstab", "/etc/fstab");
}

static void
test_glob (void)
{
  g_autoptr (GPtrArray) found = h2k_tree_glob (tree, "/lib/mod*/6.?/*.dep");
  g_autoptr (GPtrArray) none = h2k_tree_glob (tree, "/etc/fstab/*");
  g_autoptr (GPtrArray) hidden = h2k_tree_glob (tree, "/links/*");

  g_assert_cmpuint (found->len, ==, 2);
  g_assert_cmpstr (found->pdata[0], ==, "/lib/modules/6.1/modules.dep");
  g_assert_cmpuint (none->len, ==, 0);
  for (guint i = 0; i < hidden->len; i++)
    g_assert_null (strstr (hidden->pdata[i], "/.hidden"));
}

static GBytes *
text (const char *s)
{
  return g_bytes_new (s, strlen (s));
}

static void
claim_content (const char *path, const char *expected)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) data = h2k_tree_read (tree, path, 0, &error);

  g_assert_no_error (error);
  g_assert_cmpmem (g_bytes_get_data (data, NULL), g_bytes_get_size (data), expected,
                   strlen (expected));
}

static void
write_text (const char *path, const char *content)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) data = text (content);

  h2k_tree_write (tree, path, data, 0640, &error);
  g_assert_no_error (error);
  claim_content (path, content);
}

static void
test_existing_files_keep_what_they_are (void)
{
  H2kStat before, after;

  g_assert_true (h2k_tree_stat (tree, "/srv/labelled/file", &before, NULL));
  write_text ("/srv/labelled/file", "shorter");
  write_text ("/srv/labelled/file", "and now longer than it ever was before");
  write_text ("/srv/labelled/file", "");
  g_assert_true (h2k_tree_stat (tree, "/srv/labelled/file", &after, NULL));
  g_assert_cmpuint (before.mode, ==, after.mode);
  g_assert_cmpuint (before.uid, ==, after.uid);
  g_assert_cmpuint (before.inode, ==, after.inode);
  g_assert_cmpint (before.mtime, <=, after.mtime);
}

static void
test_new_files_are_roots (void)
{
  g_autoptr (GBytes) label = NULL;
  g_autoptr (GBytes) dir_label = NULL;
  H2kStat st;

  write_text ("/srv/labelled/new/dir/file", "x");
  g_assert_true (h2k_tree_stat (tree, "/srv/labelled/new/dir/file", &st, NULL));
  g_assert_cmpuint (st.mode, ==, S_IFREG | 0640);
  g_assert_cmpuint (st.uid, ==, 0);
  g_assert_true (h2k_tree_stat (tree, "/srv/labelled/new/dir", &st, NULL));
  g_assert_cmpuint (st.mode, ==, S_IFDIR | 0755);
  dir_label = h2k_tree_get_xattr (tree, "/srv/labelled", "security.selinux", NULL);
  label = h2k_tree_get_xattr (tree, "/srv/labelled/new/dir/file", "security.selinux", NULL);
  if (!dir_label)
    g_test_skip ("labels cannot be set here");
  else
    g_assert_true (label && g_bytes_equal (label, dir_label));
}

static void
test_writes_follow_links (void)
{
  write_text ("/links/dangling", "made");
  claim_content ("/nowhere/at/all", "made");
  g_assert_true (h2k_tree_is_link (tree, "/links/dangling"));
  write_text ("/lib/modules/6.1/new", "through a link in the middle");
  claim_content ("/usr/lib/modules/6.1/new", "through a link in the middle");
}

static void
test_remove_rename_symlink_append (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) more = text (" more");
  g_autofree char *target = NULL;

  write_text ("/tmp/a", "a");
  g_assert_true (h2k_tree_append (tree, "/tmp/a", more, &error));
  claim_content ("/tmp/a", "a more");
  write_text ("/tmp/b", "b");
  g_assert_true (h2k_tree_rename (tree, "/tmp/a", "/tmp/b", &error));
  claim_content ("/tmp/b", "a more");
  g_assert_false (h2k_tree_exists (tree, "/tmp/a"));
  g_assert_true (h2k_tree_symlink (tree, "/etc/passwd", "/tmp/b", &error));
  target = h2k_tree_readlink (tree, "/tmp/b", &error);
  g_assert_cmpstr (target, ==, "/etc/passwd");
  g_assert_true (h2k_tree_remove (tree, "/tmp/b", &error));
  g_assert_true (h2k_tree_is_file (tree, "/etc/passwd"));
  g_assert_true (h2k_tree_remove (tree, "/tmp/b", &error));
  g_assert_true (h2k_tree_mkdir (tree, "/tmp/c/d", 0700, &error));
  g_assert_true (h2k_tree_mkdir (tree, "/tmp/c/d", 0700, &error));
  g_assert_no_error (error);
  g_assert_false (h2k_tree_rename (tree, "/etc/passwd", "/boot/passwd", &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
}

static void
test_what_cannot_be_written_is_an_error (void)
{
  static const struct
  {
    const char *path;
    H2kError code;
  } cases[] = {{"/etc", H2K_ERROR_FILESYSTEM},
               {"/etc/passwd/x", H2K_ERROR_FILESYSTEM},
               {"/links/loop", H2K_ERROR_FAILED},
               {"/tmp/missing/../x", H2K_ERROR_FILESYSTEM},
               {"/", H2K_ERROR_FILESYSTEM}};
  g_autoptr (GBytes) data = text ("x");

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (GError) error = NULL;
      g_test_message ("%s", cases[i].path);
      g_assert_false (h2k_tree_write (tree, cases[i].path, data, 0644, &error));
      g_assert_error (error, H2K_ERROR, (gint)cases[i].code);
    }
}

static void
test_limits (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GError) gone = NULL;
  g_autoptr (GBytes) part = NULL;

  g_assert_null (h2k_tree_read (tree, "/etc/passwd", 4, &error));
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM);
  g_assert_null (h2k_tree_read (tree, "/etc/missing", 0, &gone));
  g_assert_error (gone, H2K_ERROR, H2K_ERROR_FAILED);
  part = h2k_tree_read_range (tree, "/etc/passwd", 2, 3, NULL);
  g_assert_cmpmem (g_bytes_get_data (part, NULL), g_bytes_get_size (part), "ot:", 3);
  g_clear_pointer (&part, g_bytes_unref);
  part = h2k_tree_read_range (tree, "/etc/passwd", 1 << 30, 3, NULL);
  g_assert_cmpuint (g_bytes_get_size (part), ==, 0);
  g_assert_cmpuint (h2k_tree_free_space (tree, "/boot/x/y"), >, 0);
}

/* Last: all of the above left filesystems that e2fsck finds clean. */
static void
test_clean_afterwards (void)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (h2k_tree_flush (tree, &error));
  g_assert_no_error (error);
  test_disks_claim_clean (disks);
}

int
main (int argc, char **argv)
{
  g_autofree char *dir = NULL;
  g_autoptr (GError) error = NULL;
  int result;

  g_test_init (&argc, &argv, NULL);
  dir = g_test_build_filename (G_TEST_DIST, "guest", "links-and-mounts", NULL);
  disks = test_disks_new (dir);
  guest = h2k_guest_open (test_disks_get (disks), NULL, &error);
  g_assert_no_error (error);
  tree = guest->tree;
  g_test_add_func ("/tree/links-stay-inside", test_links_stay_inside);
  g_test_add_func ("/tree/loops-are-errors", test_loops_are_errors);
  g_test_add_func ("/tree/mounts-hide", test_mounts_hide);
  g_test_add_func ("/tree/glob", test_glob);
  g_test_add_func ("/tree/existing-files-keep", test_existing_files_keep_what_they_are);
  g_test_add_func ("/tree/new-files-are-roots", test_new_files_are_roots);
  g_test_add_func ("/tree/writes-follow-links", test_writes_follow_links);
  g_test_add_func ("/tree/remove-rename-symlink-append", test_remove_rename_symlink_append);
  g_test_add_func ("/tree/cannot-be-written", test_what_cannot_be_written_is_an_error);
  g_test_add_func ("/tree/limits", test_limits);
  g_test_add_func ("/tree/zz-clean-afterwards", test_clean_afterwards);
  result = g_test_run ();
  h2k_guest_free (guest);
  test_disks_free (disks);
  return result;
}
