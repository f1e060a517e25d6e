/* test-repair-cases.c - every folder of tests/repair is a claim about one repair: these files
 * before, those after, nothing else touched, and nothing left to do for a second run. The folders'
 * README says what a case is made of.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "../guest/disks.h"
#include "repair/repairs.h"

#include <sys/stat.h>

typedef struct
{
  char *dir; /* the case's folder */
  const H2kRepair *repair;
  TestDisks *disks;
} Case;

/* --- what the guest holds --------------------------------------------------------------------- */

/* Everything about a file that a repair must not change by the way. */
typedef struct
{
  H2kStat st;
  GBytes *data; /* a link's target, a file's content; else NULL */
  char *xattrs;
} File;

static void
file_free (gpointer data)
{
  File *file = data;

  g_clear_pointer (&file->data, g_bytes_unref);
  g_free (file->xattrs);
  g_free (file);
}

static File *
look_at (H2kTree *tree, const char *path)
{
  static const char *const names[] = {"security.selinux", "user.test"};
  File *file = g_new0 (File, 1);
  g_autoptr (GError) error = NULL;
  g_autoptr (GString) xattrs = g_string_new (NULL);

  g_assert_true (h2k_tree_lstat (tree, path, &file->st, &error));
  if (S_ISLNK (file->st.mode))
    {
      char *target = h2k_tree_readlink (tree, path, &error);
      g_assert_no_error (error);
      file->data = g_bytes_new_take (target, strlen (target));
    }
  else if (S_ISREG (file->st.mode))
    file->data = h2k_tree_read (tree, path, 0, &error);
  g_assert_no_error (error);
  for (guint i = 0; !S_ISLNK (file->st.mode) && i < G_N_ELEMENTS (names); i++)
    {
      g_autoptr (GBytes) value = h2k_tree_get_xattr (tree, path, names[i], NULL);
      if (value)
        g_string_append_printf (xattrs, "%s=%.*s\n", names[i], (int)g_bytes_get_size (value),
                                (const char *)g_bytes_get_data (value, NULL));
    }
  file->xattrs = g_strdup (xattrs->str);
  return file;
}

static void
snapshot_dir (H2kTree *tree, const char *dir, GHashTable *out)
{
  g_autoptr (GPtrArray) names = h2k_tree_list (tree, dir);

  for (guint i = 0; i < names->len; i++)
    {
      const char *name = names->pdata[i];
      char *path = g_strconcat (strcmp (dir, "/") ? dir : "", "/", name, NULL);
      File *file;

      if (strcmp (name, "lost+found") == 0)
        {
          g_free (path);
          continue;
        }
      file = look_at (tree, path);
      g_hash_table_insert (out, path, file);
      if (S_ISDIR (file->st.mode))
        snapshot_dir (tree, path, out);
    }
}

static GHashTable *
snapshot (H2kTree *tree)
{
  GHashTable *out = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, file_free);

  snapshot_dir (tree, "/", out);
  return out;
}

/* --- claims ----------------------------------------------------------------------------------- */

static void
claim_same_content (const char *path, GBytes *expected, GBytes *actual)
{
  g_autofree char *diff = NULL;

  if (g_bytes_equal (expected, actual))
    return;
  diff = h2k_text_diff (path, expected, actual);
  g_test_message ("expected and actual:\n%s", diff);
  g_test_fail_printf ("%s is not as expected", path);
}

static gboolean
is_change_recorded (const H2kRepairContext *context, const char *path)
{
  for (guint i = 0; i < context->changes->len; i++)
    {
      const H2kChange *change = g_ptr_array_index (context->changes, i);
      g_assert_cmpstr (change->repair, !=, NULL);
      g_assert_cmpstr (change->reason, !=, NULL);
      if (strcmp (change->path, path) == 0)
        return TRUE;
    }
  return FALSE;
}

static guint32
expected_mode (const Case *c, const char *path)
{
  g_autoptr (GPtrArray) lines = test_lines (c->dir, "modes");

  for (guint i = 0; lines && i < lines->len; i++)
    {
      g_auto (GStrv) w = test_words (lines->pdata[i]);
      if (strcmp (w[0], path) == 0)
        return (guint32)g_ascii_strtoull (w[1], NULL, 8);
    }
  return 0644;
}

/* A file that the case expects to be changed or new. */
static void
claim_changed (const Case *c, const char *path, GBytes *expected, GHashTable *before,
               GHashTable *now, const H2kRepairContext *context)
{
  const File *old = g_hash_table_lookup (before, path);
  const File *new = g_hash_table_lookup (now, path);

  if (!new || !new->data)
    {
      g_test_fail_printf ("%s is missing", path);
      return;
    }
  claim_same_content (path, expected, new->data);
  if (old && S_ISREG (old->st.mode) && S_ISREG (new->st.mode))
    {
      g_assert_cmpuint (new->st.mode, ==, old->st.mode);
      g_assert_cmpuint (new->st.uid, ==, old->st.uid);
      g_assert_cmpuint (new->st.gid, ==, old->st.gid);
      g_assert_cmpuint (new->st.inode, ==, old->st.inode);
      g_assert_cmpstr (new->xattrs, ==, old->xattrs);
    }
  else if (S_ISREG (new->st.mode))
    {
      g_assert_cmpuint (new->st.mode & 07777, ==, expected_mode (c, path));
      g_assert_cmpuint (new->st.uid, ==, 0);
      g_assert_cmpuint (new->st.gid, ==, 0);
    }
  if (!is_change_recorded (context, path))
    g_test_fail_printf ("%s was changed without a record", path);
}

static void
claim_untouched (const char *path, const File *old, GHashTable *now)
{
  const File *new = g_hash_table_lookup (now, path);

  if (!new)
    {
      g_test_fail_printf ("%s is gone", path);
      return;
    }
  if (old->data && new->data)
    claim_same_content (path, old->data, new->data);
  g_assert_cmpuint (new->st.mode, ==, old->st.mode);
  g_assert_cmpuint (new->st.uid, ==, old->st.uid);
  g_assert_cmpuint (new->st.gid, ==, old->st.gid);
  g_assert_cmpstr (new->xattrs, ==, old->xattrs);
  if (!S_ISDIR (old->st.mode) && new->st.mtime != old->st.mtime)
    g_test_fail_printf ("%s has another time", path);
}

/* The files below DIR of the case's after/, as guest paths with their content. */
static void
collect_after (const char *dir, const char *prefix, GHashTable *out)
{
  g_autoptr (GDir) handle = g_dir_open (dir, 0, NULL);
  const char *name;

  while (handle && (name = g_dir_read_name (handle)))
    {
      g_autofree char *path = g_build_filename (dir, name, NULL);
      g_autofree char *inside = g_strconcat (prefix, "/", name, NULL);
      g_autofree char *target = g_file_read_link (path, NULL);
      char *data = NULL;
      gsize length = 0;

      if (!target && g_file_test (path, G_FILE_TEST_IS_DIR))
        {
          collect_after (path, inside, out);
          continue;
        }
      if (target)
        length = strlen (data = g_strdup (target));
      else
        g_assert_true (g_file_get_contents (path, &data, &length, NULL));
      g_hash_table_insert (out, g_strdup (inside), g_bytes_new_take (data, length));
    }
}

static void
claim_result (const Case *c, GHashTable *before, GHashTable *now, const H2kRepairContext *context)
{
  g_autoptr (GHashTable) after
      = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
  g_autofree char *dir = g_build_filename (c->dir, "after", NULL);
  g_autoptr (GPtrArray) removed = test_lines (c->dir, "removed");
  GHashTableIter iter;
  gpointer path, value;

  collect_after (dir, "", after);
  g_hash_table_iter_init (&iter, after);
  while (g_hash_table_iter_next (&iter, &path, &value))
    claim_changed (c, path, value, before, now, context);
  for (guint i = 0; removed && i < removed->len; i++)
    {
      g_assert_nonnull (g_hash_table_lookup (before, removed->pdata[i]));
      if (g_hash_table_lookup (now, removed->pdata[i]))
        g_test_fail_printf ("%s is still there", (char *)removed->pdata[i]);
      if (!is_change_recorded (context, removed->pdata[i]))
        g_test_fail_printf ("%s was removed without a record", (char *)removed->pdata[i]);
    }
  g_hash_table_iter_init (&iter, before);
  while (g_hash_table_iter_next (&iter, &path, &value))
    if (!g_hash_table_lookup (after, path)
        && !(removed && g_ptr_array_find_with_equal_func (removed, path, g_str_equal, NULL)))
      claim_untouched (path, value, now);
  g_hash_table_iter_init (&iter, now);
  while (g_hash_table_iter_next (&iter, &path, &value))
    if (!g_hash_table_lookup (before, path) && !g_hash_table_lookup (after, path)
        && !S_ISDIR (((File *)value)->st.mode))
      g_test_fail_printf ("%s is new and not expected", (char *)path);
}

static void
claim_warnings (const Case *c, const H2kRepairContext *context)
{
  g_autoptr (GPtrArray) expected = test_lines (c->dir, "warnings");
  guint n = expected ? expected->len : 0;

  for (guint i = 0; i < context->warnings->len; i++)
    {
      const char *warning = g_ptr_array_index (context->warnings, i);
      if (i >= n || !g_regex_match_simple (expected->pdata[i], warning, 0, 0))
        g_test_fail_printf ("unexpected warning: %s", warning);
    }
  if (context->warnings->len < n)
    g_test_fail_printf ("%u warnings, %u expected", context->warnings->len, n);
}

static void
claim_error (GPtrArray *expected, const GError *error)
{
  static const struct
  {
    const char *name;
    H2kError code;
  } codes[] = {{"REPAIR", H2K_ERROR_REPAIR},
               {"FILESYSTEM", H2K_ERROR_FILESYSTEM},
               {"UNSUPPORTED", H2K_ERROR_UNSUPPORTED}};

  g_assert_cmpuint (expected->len, ==, 2);
  g_assert_nonnull (error);
  for (guint i = 0; i < G_N_ELEMENTS (codes); i++)
    if (strcmp (expected->pdata[0], codes[i].name) == 0)
      {
        g_assert_error (error, H2K_ERROR, (int)codes[i].code);
        if (!g_regex_match_simple (expected->pdata[1], error->message, 0, 0))
          g_test_fail_printf ("the message is: %s", error->message);
        return;
      }
  g_test_fail_printf ("no such error: %s", (char *)expected->pdata[0]);
}

/* --- a case ----------------------------------------------------------------------------------- */

static H2kRepairContext *
new_context (const Case *c, H2kGuest *guest)
{
  H2kRepairContext *context = h2k_repair_context_new (guest, NULL);
  g_autoptr (GPtrArray) macs = test_lines (c->dir, "macs");

  for (guint i = 0; macs && i < macs->len; i++)
    g_ptr_array_add (context->macs, g_strdup (macs->pdata[i]));
  return context;
}

static void
first_run (const Case *c)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kGuest) guest = h2k_guest_open (test_disks_get (c->disks), NULL, &error);
  g_autoptr (H2kRepairContext) context = NULL;
  g_autoptr (GHashTable) before = NULL, now = NULL;
  g_autoptr (GPtrArray) expected_error = test_lines (c->dir, "error");

  g_assert_no_error (error);
  context = new_context (c, guest);
  before = snapshot (guest->tree);
  g_assert_true (c->repair->applies (context));
  if (!h2k_repair_run (context, c->repair->flag, &error) || expected_error)
    {
      if (expected_error)
        claim_error (expected_error, error);
      else
        g_test_fail_printf ("it failed: %s", error->message);
      return;
    }
  now = snapshot (guest->tree);
  claim_result (c, before, now, context);
  claim_warnings (c, context);
}

static void
second_run (const Case *c)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kGuest) guest = h2k_guest_open (test_disks_get (c->disks), NULL, &error);
  g_autoptr (H2kRepairContext) context = NULL;

  g_assert_no_error (error);
  context = new_context (c, guest);
  g_assert_true (h2k_repair_run (context, c->repair->flag, &error));
  g_assert_no_error (error);
  for (guint i = 0; i < context->changes->len; i++)
    g_test_fail_printf ("a second run changes %s", ((H2kChange *)context->changes->pdata[i])->path);
}

static void
test_case (gconstpointer data)
{
  const Case *given = data;
  g_autoptr (TestDisks) disks = test_disks_new (given->dir);
  g_autofree char *expects_error = test_text (given->dir, "error");
  Case c = {given->dir, given->repair, disks};

  first_run (&c);
  if (expects_error)
    return;
  second_run (&c);
  test_disks_claim_clean (disks);
}

static void
case_free (gpointer data)
{
  Case *c = data;

  g_free (c->dir);
  g_free (c);
}

static guint
add_cases (const H2kRepair *repair)
{
  g_autofree char *dir = g_test_build_filename (G_TEST_DIST, "repair", repair->name, NULL);
  g_autoptr (GDir) handle = g_dir_open (dir, 0, NULL);
  const char *name;
  guint n = 0;

  while (handle && (name = g_dir_read_name (handle)))
    {
      g_autofree char *test = g_strdup_printf ("/repair/%s/%s", repair->name, name);
      Case *c = g_new0 (Case, 1);

      c->dir = g_build_filename (dir, name, NULL);
      c->repair = repair;
      g_test_add_data_func_full (test, c, test_case, case_free);
      n++;
    }
  return n;
}

int
main (int argc, char **argv)
{
  static const H2kGuest linux_guest;
  const H2kRepair *const *repairs = h2k_repairs_for (&linux_guest);
  guint n = 0;

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; repairs[i]; i++)
    n += add_cases (repairs[i]);
  g_assert_cmpuint (n, >, 0);
  return g_test_run ();
}
