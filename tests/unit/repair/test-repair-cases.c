/* test-repair-cases.c - every folder of tests/repair is a claim about one repair: these files
 * before, those after, nothing else touched, and nothing left to do for a second run. The folders'
 * README says what a case is made of.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/repairs.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MIB (1024 * 1024)

typedef struct
{
  guint disk, number, mib;
  char *type, *uuid, *mount, *part_uuid;
  guint64 start; /* bytes */
} Part;

typedef struct
{
  char *label, *id;
  guint64 size;
} DiskSpec;

typedef struct
{
  char *dir; /* the case's folder */
  const H2kRepair *repair;
  char *tmp;        /* scratch folder */
  GPtrArray *specs; /* DiskSpec * */
  GPtrArray *parts; /* Part * */
  GPtrArray *disks; /* H2kDisk *: overlays */
} Case;

/* --- helpers ---------------------------------------------------------------------------------- */

static void
run_tool (const char *const *argv, const char *input)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *output = NULL;
  g_autoptr (GSubprocess) process
      = g_subprocess_newv (argv,
                           G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE
                               | G_SUBPROCESS_FLAGS_STDERR_MERGE,
                           &error);

  g_assert_no_error (error);
  g_subprocess_communicate_utf8 (process, input ? input : "", NULL, &output, NULL, &error);
  g_assert_no_error (error);
  if (!g_subprocess_get_successful (process))
    g_error ("%s failed: %s", argv[0], output);
}

static char *
case_text (const Case *c, const char *name)
{
  g_autofree char *path = g_build_filename (c->dir, name, NULL);
  char *text = NULL;

  g_file_get_contents (path, &text, NULL, NULL);
  return text;
}

/* The lines of a case's file that are neither empty nor comments; NULL when there is no file. */
static GPtrArray *
case_lines (const Case *c, const char *name)
{
  g_autofree char *text = case_text (c, name);
  g_auto (GStrv) lines = g_strsplit (text ? text : "", "\n", -1);
  GPtrArray *out;

  if (!text)
    return NULL;
  out = g_ptr_array_new_with_free_func (g_free);
  for (guint i = 0; lines[i]; i++)
    if (*lines[i] && *lines[i] != '#')
      g_ptr_array_add (out, g_strdup (lines[i]));
  return out;
}

static char **
words_of (const char *line)
{
  g_autoptr (GPtrArray) out = g_ptr_array_new ();
  g_auto (GStrv) all = g_strsplit_set (line, " \t", -1);

  for (guint i = 0; all[i]; i++)
    if (*all[i])
      g_ptr_array_add (out, g_strdup (all[i]));
  g_ptr_array_add (out, NULL);
  return (char **)g_ptr_array_steal (out, NULL);
}

/* --- the disks -------------------------------------------------------------------------------- */

static const char default_disk[] = "disk mbr 0x5eed0001\n"
                                   "1 12 ext4 aaaaaaaa-0000-4000-8000-000000000001 /\n"
                                   "5 2 swap aaaaaaaa-0000-4000-8000-000000000005 -\n";

static void
part_free (gpointer data)
{
  Part *part = data;

  g_free (part->type);
  g_free (part->uuid);
  g_free (part->mount);
  g_free (part->part_uuid);
  g_free (part);
}

static void
spec_free (gpointer data)
{
  DiskSpec *spec = data;

  g_free (spec->label);
  g_free (spec->id);
  g_free (spec);
}

static void
read_disk_spec (Case *c)
{
  g_autofree char *text = case_text (c, "disk");
  g_auto (GStrv) lines = g_strsplit (text ? text : default_disk, "\n", -1);

  for (guint i = 0; lines[i]; i++)
    {
      g_auto (GStrv) w = words_of (lines[i]);
      guint n = g_strv_length (w);

      if (n == 0 || *w[0] == '#')
        continue;
      if (strcmp (w[0], "disk") == 0)
        {
          DiskSpec *spec = g_new0 (DiskSpec, 1);
          g_assert_cmpuint (n, ==, 3);
          spec->label = g_strdup (w[1]);
          spec->id = g_strdup (w[2]);
          g_ptr_array_add (c->specs, spec);
        }
      else
        {
          Part *part = g_new0 (Part, 1);
          g_assert_cmpuint (n, >=, 5);
          part->disk = c->specs->len - 1;
          part->number = (guint)g_ascii_strtoull (w[0], NULL, 10);
          part->mib = (guint)g_ascii_strtoull (w[1], NULL, 10);
          part->type = g_strdup (w[2]);
          part->uuid = strcmp (w[3], "-") ? g_strdup (w[3]) : NULL;
          part->mount = strcmp (w[4], "-") ? g_strdup (w[4]) : NULL;
          part->part_uuid = g_strdup (w[5]);
          g_ptr_array_add (c->parts, part);
        }
    }
}

/* sfdisk's word for a partition's type. */
static const char *
sfdisk_type (const Part *part, gboolean gpt)
{
  if (strcmp (part->type, "swap") == 0)
    return gpt ? "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F" : "82";
  if (strcmp (part->type, "esp") == 0)
    return gpt ? "C12A7328-F81F-11D2-BA4B-00A0C93EC93B" : "ef";
  return gpt ? "0FC63DAF-8483-4772-8E79-3D69D8477DE4" : "83";
}

/* Place the partitions and write the table. */
static void
make_table (Case *c, guint index, const char *image)
{
  DiskSpec *spec = g_ptr_array_index (c->specs, index);
  gboolean gpt = strcmp (spec->label, "gpt") == 0, extended = FALSE;
  g_autoptr (GString) script = g_string_new (NULL);
  const char *argv[] = {"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", image, NULL};
  guint64 at = MIB;

  g_string_printf (script, "label: %s\nlabel-id: %s\n", gpt ? "gpt" : "dos", spec->id);
  for (guint i = 0; i < c->parts->len; i++)
    {
      Part *part = g_ptr_array_index (c->parts, i);

      if (part->disk != index)
        continue;
      if (strcmp (spec->label, "none") == 0)
        {
          spec->size = (guint64)part->mib * MIB;
          break;
        }
      if (!gpt && part->number >= 5)
        {
          if (!extended)
            g_string_append_printf (script, "4: start=%" G_GUINT64_FORMAT ", type=5\n", at / 512);
          extended = TRUE;
          at += MIB;
        }
      part->start = at;
      g_string_append_printf (script, "%u: start=%" G_GUINT64_FORMAT ", size=%u, type=%s%s%s\n",
                              part->number, at / 512, part->mib * 2048, sfdisk_type (part, gpt),
                              part->part_uuid ? ", uuid=" : "",
                              part->part_uuid ? part->part_uuid : "");
      at += (guint64)part->mib * MIB;
    }
  if (!spec->size)
    spec->size = at + MIB;
  g_assert_cmpint (truncate (image, (off_t)spec->size), ==, 0);
  if (strcmp (spec->label, "none") != 0)
    run_tool (argv, script->str);
}

/* --- what lies on them ------------------------------------------------------------------------ */

static void
copy_into (const char *from, const char *to)
{
  g_autofree char *source = g_strconcat (from, "/.", NULL);
  const char *argv[] = {"cp", "-a", "--no-preserve=ownership", source, to, NULL};

  if (g_file_test (from, G_FILE_TEST_IS_DIR))
    run_tool (argv, NULL);
}

static void
apply_manifest (const Case *c, const char *staging)
{
  g_autoptr (GPtrArray) lines = case_lines (c, "manifest");

  for (guint i = 0; lines && i < lines->len; i++)
    {
      g_auto (GStrv) w = words_of (lines->pdata[i]);
      g_autofree char *path = g_build_filename (staging, w[0], NULL);

      if (!g_file_test (path, G_FILE_TEST_EXISTS))
        g_assert_cmpint (g_mkdir_with_parents (path, 0755), ==, 0);
      g_assert_cmpuint (g_strv_length (w), >=, 2);
      if (strcmp (w[1], "-") != 0)
        g_assert_cmpint (g_chmod (path, (int)g_ascii_strtoull (w[1], NULL, 8)), ==, 0);
      if (w[2] && w[3] && geteuid () == 0)
        g_assert_cmpint (lchown (path, (uid_t)g_ascii_strtoull (w[2], NULL, 10),
                                 (gid_t)g_ascii_strtoull (w[3], NULL, 10)),
                         ==, 0);
      for (guint k = 4; w[2] && w[3] && w[k]; k++)
        {
          char *value = strchr (w[k], '=');
          g_assert_nonnull (value);
          *value++ = '\0';
          if (setxattr (path, w[k], value, strlen (value), 0) != 0)
            g_test_message ("%s: %s cannot be set here: %s", path, w[k], g_strerror (errno));
        }
    }
}

/* Move the folder that another filesystem holds out of the one above it. */
static char *
split_off (const Case *c, const char *staging, const Part *part)
{
  g_autofree char *inside = g_build_filename (staging, part->mount, NULL);
  char *own = g_strdup_printf ("%s/part-%u-%u", c->tmp, part->disk, part->number);
  const char *argv[] = {"mv", inside, own, NULL};

  if (!g_file_test (inside, G_FILE_TEST_IS_DIR))
    g_assert_cmpint (g_mkdir_with_parents (inside, 0755), ==, 0);
  run_tool (argv, NULL);
  g_assert_cmpint (g_mkdir (inside, 0755), ==, 0);
  return own;
}

static void
write_at (const char *image, guint64 offset, const void *data, gsize length)
{
  int fd = open (image, O_WRONLY | O_CLOEXEC);

  g_assert_cmpint (h2k_pwrite_full (fd, data, length, offset), ==, 0);
  close (fd);
}

static void
copy_file_at (const char *image, guint64 offset, const char *file)
{
  g_autofree char *data = NULL;
  gsize length;

  g_assert_true (g_file_get_contents (file, &data, &length, NULL));
  write_at (image, offset, data, length);
}

/* A LUKS1 header as far as blkid looks (the LUKS1 specification's phdr). */
static void
write_luks (const char *image, const Part *part)
{
  char header[592] = "LUKS\xba\xbe\0\1";

  g_strlcpy (header + 168, part->uuid, 40);
  write_at (image, part->start, header, sizeof header);
}

static void
make_volume (const Case *c, const char *image, const Part *part, const char *root)
{
  g_autofree char *file = g_strdup_printf ("%s/fs-%u-%u", c->tmp, part->disk, part->number);
  g_autofree char *size = g_strdup_printf ("%uk", part->mib * 1024);
  const char *uuid = part->uuid ? part->uuid : "clear";
  const char *mkfs[] = {"mke2fs", "-q",   "-F", "-t", part->type, "-U", uuid,
                        "-b",     "1024", "-d", root, file,       size, NULL};
  const char *mkswap[] = {"mkswap", "-q", "-U", uuid, file, NULL};

  if (strcmp (part->type, "luks") == 0)
    write_luks (image, part);
  if (g_str_has_prefix (part->type, "ext"))
    run_tool (mkfs, NULL);
  else if (strcmp (part->type, "swap") == 0)
    {
      g_assert_true (g_file_set_contents (file, "", 0, NULL));
      g_assert_cmpint (truncate (file, (off_t)part->mib * MIB), ==, 0);
      g_assert_cmpint (g_chmod (file, 0600), ==, 0);
      run_tool (mkswap, NULL);
    }
  else
    return;
  copy_file_at (image, part->start, file);
}

static int
compare_mounts (gconstpointer a, gconstpointer b)
{
  const Part *x = *(Part *const *)a, *y = *(Part *const *)b;

  return (int)strlen (y->mount ? y->mount : "") - (int)strlen (x->mount ? x->mount : "");
}

static void
make_disks (Case *c)
{
  g_autofree char *staging = g_build_filename (c->tmp, "root", NULL);
  g_autofree char *empty = g_build_filename (c->tmp, "empty", NULL);
  g_autofree char *before = g_build_filename (c->dir, "before", NULL);
  g_autofree char *base = g_test_build_filename (G_TEST_DIST, "repair", "base", NULL);
  g_autoptr (GPtrArray) images = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GPtrArray) by_mount = g_ptr_array_copy (c->parts, NULL, NULL);

  g_mkdir (staging, 0755);
  g_mkdir (empty, 0755);
  copy_into (base, staging);
  copy_into (before, staging);
  apply_manifest (c, staging);
  for (guint i = 0; i < c->specs->len; i++)
    {
      char *image = g_strdup_printf ("%s/disk-%u", c->tmp, i);
      g_assert_true (g_file_set_contents (image, "", 0, NULL));
      make_table (c, i, image);
      g_ptr_array_add (images, image);
    }
  g_ptr_array_set_free_func (by_mount, NULL);
  g_ptr_array_sort (by_mount, compare_mounts);
  for (guint i = 0; i < by_mount->len; i++)
    {
      const Part *part = g_ptr_array_index (by_mount, i);
      gboolean inner = part->mount && strcmp (part->mount, "/") != 0;
      g_autofree char *own = inner ? split_off (c, staging, part) : NULL;

      make_volume (c, g_ptr_array_index (images, part->disk), part,
                   own           ? own
                   : part->mount ? staging
                                 : empty);
    }
  for (guint i = 0; i < images->len; i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kDisk) disk = h2k_disk_open (images->pdata[i], "raw", &error);
      g_assert_no_error (error);
      g_ptr_array_add (c->disks, h2k_overlay_new (disk, c->tmp, 64 * MIB));
    }
}

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
  g_autoptr (GPtrArray) lines = case_lines (c, "modes");

  for (guint i = 0; lines && i < lines->len; i++)
    {
      g_auto (GStrv) w = words_of (lines->pdata[i]);
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
  g_autoptr (GPtrArray) removed = case_lines (c, "removed");
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
      g_assert_true (is_change_recorded (context, removed->pdata[i]));
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
  g_autoptr (GPtrArray) expected = case_lines (c, "warnings");
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
  H2kRepairContext *context = h2k_repair_context_new (guest);
  g_autoptr (GPtrArray) macs = case_lines (c, "macs");

  for (guint i = 0; macs && i < macs->len; i++)
    g_ptr_array_add (context->macs, g_strdup (macs->pdata[i]));
  return context;
}

static void
first_run (const Case *c)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kGuest) guest = h2k_guest_open (c->disks, &error);
  g_autoptr (H2kRepairContext) context = NULL;
  g_autoptr (GHashTable) before = NULL, now = NULL;
  g_autoptr (GPtrArray) expected_error = case_lines (c, "error");

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
  g_autoptr (H2kGuest) guest = h2k_guest_open (c->disks, &error);
  g_autoptr (H2kRepairContext) context = NULL;

  g_assert_no_error (error);
  context = new_context (c, guest);
  g_assert_true (h2k_repair_run (context, c->repair->flag, &error));
  g_assert_no_error (error);
  for (guint i = 0; i < context->changes->len; i++)
    g_test_fail_printf ("a second run changes %s", ((H2kChange *)context->changes->pdata[i])->path);
}

static void
claim_clean (const Case *c)
{
  for (guint i = 0; i < c->parts->len; i++)
    {
      const Part *part = g_ptr_array_index (c->parts, i);
      g_autofree char *file = g_strdup_printf ("%s/check", c->tmp);
      gsize length = (gsize)part->mib * MIB;
      g_autofree char *data = NULL;
      const char *argv[] = {"e2fsck", "-fn", file, NULL};
      g_autoptr (GError) error = NULL;

      if (!g_str_has_prefix (part->type, "ext"))
        continue;
      data = g_malloc (length);
      g_assert_true (h2k_disk_pread (g_ptr_array_index (c->disks, part->disk), part->start, length,
                                     data, &error));
      g_assert_true (g_file_set_contents (file, data, (gssize)length, NULL));
      run_tool (argv, NULL);
    }
}

static void
remove_all (const char *path)
{
  const char *argv[] = {"rm", "-rf", path, NULL};

  run_tool (argv, NULL);
}

static void
test_case (gconstpointer data)
{
  const Case *given = data;
  Case c = {given->dir,
            given->repair,
            g_dir_make_tmp ("h2k-case-XXXXXX", NULL),
            g_ptr_array_new_with_free_func (spec_free),
            g_ptr_array_new_with_free_func (part_free),
            g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref)};
  g_autofree char *expects_error = case_text (&c, "error");

  read_disk_spec (&c);
  make_disks (&c);
  first_run (&c);
  if (!expects_error)
    {
      second_run (&c);
      claim_clean (&c);
    }
  g_ptr_array_unref (c.disks);
  g_ptr_array_unref (c.parts);
  g_ptr_array_unref (c.specs);
  remove_all (c.tmp);
  g_free (c.tmp);
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
  guint n = 0;

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; h2k_repairs[i]; i++)
    n += add_cases (h2k_repairs[i]);
  g_assert_cmpuint (n, >, 0);
  return g_test_run ();
}
