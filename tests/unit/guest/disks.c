/* disks.c - builds a guest's disks from a folder of files and a list of partitions.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disks.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
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

struct _TestDisks
{
  char *dir;        /* the case's folder */
  char *tmp;        /* scratch folder */
  GPtrArray *specs; /* DiskSpec * */
  GPtrArray *parts; /* Part * */
  GPtrArray *disks; /* H2kDisk *: overlays */
};

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

char *
test_text (const char *dir, const char *name)
{
  g_autofree char *path = g_build_filename (dir, name, NULL);
  char *text = NULL;

  g_file_get_contents (path, &text, NULL, NULL);
  return text;
}

GPtrArray *
test_lines (const char *dir, const char *name)
{
  g_autofree char *text = test_text (dir, name);
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

char **
test_words (const char *line)
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
read_disk_spec (TestDisks *c)
{
  g_autofree char *text = test_text (c->dir, "disk");
  g_auto (GStrv) lines = g_strsplit (text ? text : default_disk, "\n", -1);

  for (guint i = 0; lines[i]; i++)
    {
      g_auto (GStrv) w = test_words (lines[i]);
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
make_table (TestDisks *c, guint index, const char *image)
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
apply_manifest (const TestDisks *c, const char *staging)
{
  g_autoptr (GPtrArray) lines = test_lines (c->dir, "manifest");

  for (guint i = 0; lines && i < lines->len; i++)
    {
      g_auto (GStrv) w = test_words (lines->pdata[i]);
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
split_off (const TestDisks *c, const char *staging, const Part *part)
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

/* A LUKS1 header without a key (the LUKS1 specification's phdr): data from 1 MiB on. */
static void
write_luks (const char *image, const Part *part)
{
  char header[592] = "LUKS\xba\xbe\0\1aes";

  memcpy (header + 40, "xts-plain64", 11);
  header[106] = 8;  /* 2048 sectors */
  header[111] = 64; /* bytes of the key */
  g_strlcpy (header + 168, part->uuid, 40);
  write_at (image, part->start, header, sizeof header);
}

static void
make_volume (const TestDisks *c, const char *image, const Part *part, const char *root)
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
make_disks (TestDisks *c)
{
  g_autofree char *staging = g_build_filename (c->tmp, "root", NULL);
  g_autofree char *empty = g_build_filename (c->tmp, "empty", NULL);
  g_autofree char *before = g_build_filename (c->dir, "before", NULL);
  g_autofree char *no_base = test_text (c->dir, "no-base");
  g_autofree char *base = g_test_build_filename (G_TEST_DIST, "repair", "base", NULL);
  g_autoptr (GPtrArray) images = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GPtrArray) by_mount = g_ptr_array_copy (c->parts, NULL, NULL);

  g_mkdir (staging, 0755);
  g_mkdir (empty, 0755);
  if (!no_base)
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

/* --- the whole -------------------------------------------------------------------------------- */

static void
remove_all (const char *path)
{
  const char *argv[] = {"rm", "-rf", path, NULL};

  run_tool (argv, NULL);
}

void
test_disks_claim_clean (const TestDisks *c)
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

TestDisks *
test_disks_new (const char *dir)
{
  TestDisks *disks = g_new0 (TestDisks, 1);

  disks->dir = g_strdup (dir);
  disks->tmp = g_dir_make_tmp ("h2k-case-XXXXXX", NULL);
  disks->specs = g_ptr_array_new_with_free_func (spec_free);
  disks->parts = g_ptr_array_new_with_free_func (part_free);
  disks->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  read_disk_spec (disks);
  make_disks (disks);
  return disks;
}

GPtrArray *
test_disks_get (const TestDisks *disks)
{
  return disks->disks;
}

void
test_disks_free (TestDisks *disks)
{
  g_ptr_array_unref (disks->disks);
  g_ptr_array_unref (disks->parts);
  g_ptr_array_unref (disks->specs);
  remove_all (disks->tmp);
  g_free (disks->tmp);
  g_free (disks->dir);
  g_free (disks);
}
