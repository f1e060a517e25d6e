/* test-tar.c - members of tar archives, read in place: archives of the tar program in its formats,
 * hand-made headers, damage, and real appliances.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/tar.h"

#include <glib/gstdio.h>

typedef struct
{
  char *path;
} Folder;

static void
set_up (Folder *folder, gconstpointer data)
{
  folder->path = g_dir_make_tmp ("h2k-tar-XXXXXX", NULL);
}

static void
run (const char *folder, const char *command)
{
  const char *argv[] = {"sh", "-ec", command, NULL};
  g_autoptr (GError) error = NULL;
  int status;

  g_assert_true (g_spawn_sync (folder, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                               NULL, &status, &error));
  g_assert_no_error (error);
  g_assert_cmpint (status, ==, 0);
}

static void
tear_down (Folder *folder, gconstpointer data)
{
  run (folder->path, "rm -rf \"$PWD\"");
  g_free (folder->path);
}

static H2kFile *
open_file (const char *folder, const char *name)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autoptr (GError) error = NULL;
  H2kFile *file = h2k_file_open (path, &error);

  g_assert_no_error (error);
  return file;
}

/* MEMBER of ARCHIVE has the content of the file of its name in FOLDER. */
static void
check_content (H2kFile *archive, const H2kTarMember *member, const char *folder)
{
  g_autoptr (H2kFile) file = h2k_tar_open (archive, member);
  g_autofree char *path = g_build_filename (folder, member->name, NULL);
  g_autofree char *expected = NULL, *content = g_malloc (file->size + 1);
  gsize length;

  g_assert_true (g_file_get_contents (path, &expected, &length, NULL));
  g_assert_cmpuint (file->size, ==, length);
  g_assert_true (h2k_file_pread (file, 0, length, content, NULL));
  g_assert_cmpmem (content, length, expected, length);
  g_assert_false (h2k_file_pread (file, length, 1, content, NULL));
}

static void
test_formats (Folder *folder, gconstpointer data)
{
  const char *format = data;
  g_autofree char *command
      = g_strdup_printf ("mkdir -p d/%0100d/%080d; echo one > one; printf '' > none;"
                         "head -c 70000 /dev/urandom > d/big; echo deep > d/%0100d/%080d/deep;"
                         "ln -s one link; ln one hard;"
                         "tar --format=%s -cf a.tar one none link hard d%s",
                         1, 2, 1, 2, format,
                         g_str_equal (format, "ustar") || g_str_equal (format, "v7") ? "/big" : "");
  g_autoptr (GPtrArray) members = NULL;
  g_autoptr (H2kFile) archive = NULL;
  g_autoptr (GError) error = NULL;
  gboolean deep = FALSE;
  guint8 head[512];

  run (folder->path, command);
  archive = open_file (folder->path, "a.tar");
  g_assert_true (h2k_file_pread (archive, 0, sizeof head, head, NULL));
  g_assert_cmpint (h2k_tar_probe (head, sizeof head), ==, !g_str_equal (format, "v7"));
  members = h2k_tar_list (archive, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < members->len; i++)
    {
      const H2kTarMember *member = members->pdata[i];
      check_content (archive, member, folder->path);
      deep = deep || g_str_has_suffix (member->name, "/deep");
    }
  g_assert_cmpstr (((H2kTarMember *)members->pdata[0])->name, ==, "one");
  g_assert_cmpint (deep, ==, g_str_equal (format, "gnu") || g_str_equal (format, "pax"));
  g_assert_cmpuint (members->len, ==, deep ? 4 : 3);
}

/* --- hand-made -------------------------------------------------------------------------------- */

static void
finish_header (guint8 *h)
{
  guint sum = 0;

  memset (h + 148, ' ', 8);
  for (gsize i = 0; i < 512; i++)
    sum += h[i];
  g_snprintf ((char *)h + 148, 8, "%06o", sum);
}

static void
make_header (guint8 *h, const char *name, const char *size, char type)
{
  memset (h, 0, 512);
  memcpy (h, name, strlen (name));
  memcpy (h + 124, size, strlen (size));
  h[156] = (guint8)type;
  memcpy (h + 257, "ustar\00000", 8);
  finish_header (h);
}

static GPtrArray *
list (const guint8 *data, gsize size, GError **error)
{
  g_autoptr (H2kFile) archive = h2k_file_new_memory ("a.tar", data, size);

  return h2k_tar_list (archive, error);
}

static void
test_numbers (void)
{
  guint8 data[2048] = {0};
  g_autoptr (GPtrArray) members = NULL, none = NULL;
  g_autoptr (GError) error = NULL;

  /* base 256: 0x200 */
  make_header (data, "a", "", '0');
  data[124] = 0x80;
  data[134] = 2;
  finish_header (data);
  memset (data + 512, 'x', 512);
  members = list (data, sizeof data, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (((H2kTarMember *)members->pdata[0])->size, ==, 512);

  /* larger than everything */
  memset (data + 125, 0xff, 11);
  finish_header (data);
  none = list (data, sizeof data, &error);
  g_assert_null (none);
  g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
}

static void
test_damage (void)
{
  static const struct
  {
    gsize offset;
    const char *bytes;
    const char *message;
  } cases[] = {
      {0, "b", "checksum"},
      {124, "99999999999", "impossible size"},
      {124, "00000010000", "larger than the rest"},
      {156, "x", "malformed"},
      {156, "S", "sparse"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      guint8 data[2048] = {0};
      g_autoptr (GError) error = NULL;
      g_autoptr (GPtrArray) members = NULL;

      make_header (data, "a", "00000000100", '0');
      memset (data + 512, 'x', 64);
      memcpy (data + cases[i].offset, cases[i].bytes, strlen (cases[i].bytes));
      if (cases[i].offset)
        finish_header (data);
      members = list (data, sizeof data, &error);
      g_assert_null (members);
      g_assert_nonnull (error);
      g_assert_nonnull (strstr (error->message, cases[i].message));
    }
}

/* Cut at every block: an error, or only whole members. */
static void
test_truncation (Folder *folder, gconstpointer data)
{
  g_autofree char *path = g_build_filename (folder->path, "a.tar", NULL), *bytes = NULL;
  gsize length;
  guint complete = 0;

  run (folder->path, "for i in 1 2 3; do head -c 2000 /dev/urandom > f$i; done; tar cf a.tar f?");
  g_assert_true (g_file_get_contents (path, &bytes, &length, NULL));
  for (gsize n = 0; n <= length; n += 256)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (GPtrArray) members = list ((guint8 *)bytes, n, &error);

      g_assert_true ((members != NULL) == (error == NULL));
      for (guint i = 0; members && i < members->len; i++)
        {
          const H2kTarMember *member = members->pdata[i];
          g_assert_cmpuint (member->size, ==, 2000);
          g_assert_cmpuint (member->offset + member->size, <=, n);
        }
      complete += members && members->len == 3;
    }
  g_assert_cmpuint (complete, >, 0);
}

static void
test_appliances (void)
{
  const char *top = g_getenv ("H2K_TESTDATA");
  g_autofree char *path = NULL;
  g_autoptr (H2kFile) archive = NULL;
  g_autoptr (GPtrArray) members = NULL;
  g_autoptr (GError) error = NULL;
  guint disks = 0;

  if (!top)
    {
      g_test_skip ("H2K_TESTDATA names no folder with samples");
      return;
    }
  path = g_build_filename (top, "ova/virtualbox", NULL);
  archive = open_file (path, "tdAppliance1-t2-ovftool-4.1.0.ova");
  members = h2k_tar_list (archive, &error);
  g_assert_no_error (error);
  g_assert_true (g_str_has_suffix (((H2kTarMember *)members->pdata[0])->name, ".ovf"));
  for (guint i = 0; i < members->len; i++)
    {
      const H2kTarMember *member = members->pdata[i];
      g_autoptr (H2kFile) file = h2k_tar_open (archive, member);
      char magic[4];

      if (!g_str_has_suffix (member->name, ".vmdk"))
        continue;
      g_assert_true (h2k_file_pread (file, 0, 4, magic, NULL));
      g_assert_cmpmem (magic, 4, "KDMV", 4);
      disks++;
    }
  g_assert_cmpuint (disks, >, 0);
}

int
main (int argc, char **argv)
{
  static const char *const formats[] = {"gnu", "pax", "ustar", "v7"};

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    {
      g_autofree char *name = g_strconcat ("/tar/", formats[i], NULL);
      g_test_add (name, Folder, formats[i], set_up, test_formats, tear_down);
    }
  g_test_add_func ("/tar/numbers", test_numbers);
  g_test_add_func ("/tar/damage", test_damage);
  g_test_add ("/tar/truncation", Folder, NULL, set_up, test_truncation, tear_down);
  g_test_add_func ("/tar/appliances", test_appliances);
  return g_test_run ();
}
