/* hives.c - as hives.h says.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "hives.h"

#include "registry/regf.h"

#include <stdlib.h>
#include <string.h>

H2kFs *
hives_fs_new (const char *type, guint64 size)
{
  static const struct
  {
    const char *type, *program, *options;
  } kinds[] = {{"fat", "mkfs.fat", "-F 32 -s 8"},
               {"ext", "mke2fs", "-q -F -t ext4 -E lazy_itable_init=0"},
               {"ntfs", "mkntfs", "-F -q -Q"}};
  g_autoptr (H2kDisk) disk = NULL;
  H2kFs *fs;
  guint i = 0;

  while (strcmp (kinds[i].type, type) != 0)
    i++;
  if (!image_have (kinds[i].program))
    return NULL;
  image_must_run ("truncate -s %" G_GUINT64_FORMAT " @/volume", size);
  image_must_run ("%s %s @/volume", kinds[i].program, kinds[i].options);
  disk = image_load ("volume");
  fs = image_open_fs (disk, type);
  CHECK (fs->ops->create (fs, "/config", 040755, 0, 0, NULL, &error));
  return fs;
}

void
hives_put (H2kFs *fs, const char *path, GBytes *content)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (content, &size);
  H2kStat st;

  if (!fs->ops->lstat (fs, path, &st, NULL))
    CHECK (fs->ops->create (fs, path, 0100644, 0, 0, NULL, &error));
  CHECK (fs->ops->truncate (fs, path, size, &error));
  for (gsize at = 0; at < size; at += 1 << 20)
    CHECK (fs->ops->write (fs, path, at, data + at, MIN (size - at, 1u << 20), &error));
}

GBytes *
hives_get (H2kFs *fs, const char *path)
{
  g_autoptr (GError) error = NULL;
  GBytes *bytes;
  H2kStat st;

  if (!fs->ops->lstat (fs, path, &st, NULL))
    return NULL;
  bytes = fs->ops->read (fs, path, 0, st.size, &error);
  g_assert_no_error (error);
  return bytes;
}

H2kHive *
hives_open (H2kFs *fs, gboolean writable)
{
  g_autoptr (GError) error = NULL;
  H2kHive *hive = h2k_hive_open (fs, "/config/HIVE", writable, NULL, &error);

  g_assert_no_error (error);
  return hive;
}

/* --- hives ------------------------------------------------------------------------------------ */

GBytes *
hives_sample (const char *name)
{
  const char *dir = g_getenv ("H2K_TESTDATA");
  g_autofree char *path = dir ? g_build_filename (dir, "hive", name, NULL) : NULL;
  char *content;
  gsize length;

  if (!path || !g_file_test (path, G_FILE_TEST_EXISTS))
    {
      g_test_skip ("H2K_TESTDATA has no such hive");
      return NULL;
    }
  if (g_str_has_suffix (name, ".xz") && !image_have ("xz"))
    return NULL;
  if (g_str_has_suffix (name, ".xz"))
    {
      const char *const argv[] = {"xz", "-dc", path, NULL};
      g_autoptr (GSubprocess) xz = g_subprocess_newv (argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE, NULL);
      GBytes *bytes = NULL;

      g_assert_nonnull (xz);
      g_assert_true (g_subprocess_communicate (xz, NULL, NULL, &bytes, NULL, NULL));
      return bytes;
    }
  g_assert_true (g_file_get_contents (path, &content, &length, NULL));
  return g_bytes_new_take (content, length);
}

void
hives_seal (guint8 *base)
{
  guint32 sum = GUINT32_TO_LE (h2k_regf_checksum (base));

  memcpy (base + 508, &sum, 4);
}

static void
put32 (guint8 *at, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (at, &value, 4);
}

/* One bin with the root, its security, and a free cell. */
GBytes *
hives_empty (guint minor)
{
  guint8 *hive = g_malloc0 (8192), *bin = hive + 4096;
  H2kRegfBase *base = (H2kRegfBase *)hive;
  H2kRegfKey *key = (H2kRegfKey *)(bin + 36);
  H2kRegfSecurity *security = (H2kRegfSecurity *)(bin + 32 + 88 + 4);

  memcpy (base->magic, "regf", 4);
  base->sequence1 = base->sequence2 = GUINT32_TO_LE (7);
  base->written = GUINT64_TO_LE (G_GUINT64_CONSTANT (0x1d29627f1c8a860));
  base->major = base->format = base->cluster = GUINT32_TO_LE (1);
  base->minor = GUINT32_TO_LE (minor);
  base->root = GUINT32_TO_LE (32);
  base->length = GUINT32_TO_LE (4096);
  hives_seal (hive);
  memcpy (bin, "hbin", 4);
  put32 (bin + 8, 4096);
  memcpy (bin + 20, &base->written, 8);
  put32 (bin + 32, -88u);
  memcpy (key->magic, "nk", 2);
  key->flags = GUINT16_TO_LE (0x2c);
  key->written = base->written;
  key->parent = key->keys = key->volatile_keys = key->values = key->class_name = H2K_REGF_NONE;
  key->security = GUINT32_TO_LE (32 + 88);
  key->name_length = GUINT16_TO_LE (4);
  memcpy (key->name, "root", 4);
  put32 (bin + 32 + 88, -48u);
  memcpy (security->magic, "sk", 2);
  security->next = security->previous = GUINT32_TO_LE (32 + 88);
  security->n_references = GUINT32_TO_LE (1);
  security->length = GUINT32_TO_LE (20);
  /* A descriptor without owner, group and lists. */
  security->descriptor[0] = 1;
  security->descriptor[3] = 0x80;
  put32 (bin + 32 + 88 + 48, 4096 - 32 - 88 - 48);
  return g_bytes_new_take (hive, 8192);
}

/* --- another reader --------------------------------------------------------------------------- */

static int
by_text (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *)a, *(char *const *)b);
}

GStrv
hives_dump (GBytes *hive)
{
  g_autofree char *path = g_build_filename (image_dir (), "dumped", NULL), *out = NULL;
  const char *const argv[] = {"reglookup", path, NULL};
  g_autoptr (GSubprocess) process = NULL;
  GStrv lines;

  g_assert_true (g_file_set_contents (path, g_bytes_get_data (hive, NULL),
                                      (gssize)g_bytes_get_size (hive), NULL));
  process
      = g_subprocess_newv (argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE,
                           NULL);
  g_assert_nonnull (process);
  g_assert_true (g_subprocess_communicate_utf8 (process, NULL, NULL, &out, NULL, NULL));
  lines = g_strsplit (out, "\n", -1);
  /* PATH,TYPE,VALUE,MTIME: the time goes. */
  for (guint i = 0; lines[i]; i++)
    {
      char *comma = g_str_has_suffix (lines[i], ",") ? NULL : strrchr (lines[i], ',');

      if (strstr (lines[i], ",KEY,") && comma)
        *comma = 0;
    }
  qsort (lines, g_strv_length (lines), sizeof *lines, by_text);
  return lines;
}

static gboolean
is_allowed (const char *line, const char *const *allowed)
{
  for (; *allowed; allowed++)
    if (strcasestr (line, *allowed))
      return TRUE;
  return FALSE;
}

void
hives_assert_same (GStrv a, GStrv b, const char *const *allowed)
{
  g_assert_cmpuint (g_strv_length (a), >, 1);
  while (*a || *b)
    {
      int order = !*a ? 1 : !*b ? -1 : strcmp (*a, *b);

      if (order == 0)
        {
          a++;
          b++;
        }
      else
        {
          char *line = order < 0 ? *a++ : *b++;

          if (!is_allowed (line, allowed))
            g_error ("%s: %s", order < 0 ? "lost" : "new", line);
        }
    }
}
