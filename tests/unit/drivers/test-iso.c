/* test-iso.c - ISO images that genisoimage and xorriso wrote are read as their folders were, and
 * hostile ones give nothing but what is in them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/tree.h"

#include <unistd.h>

#define LONG_NAME "a name with blanks, longer than the thirty-one characters that level 1 has.txt"

static char *
join (const char *folder, const char *name)
{
  return g_build_filename (folder, name, NULL);
}

static void
put (const char *top, const char *path, const char *text)
{
  g_autofree char *whole = join (top, path);
  g_autofree char *folder = g_path_get_dirname (whole);

  g_assert_cmpint (g_mkdir_with_parents (folder, 0755), ==, 0);
  g_assert_true (g_file_set_contents (whole, text, -1, NULL));
}

/* The folder that images are made of; in one folder names have LENGTH bytes and some. */
static char *
make_folder (gsize length)
{
  char *top = g_dir_make_tmp ("iso-XXXXXX", NULL);
  g_autofree char *link = NULL, *many = g_strnfill (length, 'x');

  put (top, "viostor/w10/amd64/viostor.inf", "an INF");
  put (top, "viostor/w10/ARM64/viostor.inf", "another");
  put (top, "viostor/2k12R2/amd64/viostor.sys", "");
  put (top, "plain/" LONG_NAME, "long");
  for (guint i = 0; i < 200; i++)
    {
      g_autofree char *name = g_strdup_printf ("many/%s-%03u", many, i);
      put (top, name, "x");
    }
  link = join (top, "plain/link");
  g_assert_cmpint (symlink ("../viostor", link), ==, 0);
  return top;
}

/* An image of TOP, made by the program that OPTIONS begins with; NULL: it is not installed. */
static char *
make_image (const char *options, const char *top)
{
  g_autofree char *image = g_strconcat (top, ".iso", NULL);
  g_autofree char *line = g_strdup_printf ("%s -o %s %s >%s.log 2>&1", options, image, top, top);
  g_auto (GStrv) words = g_strsplit (options, " ", 2);
  g_autofree char *program = g_find_program_in_path (words[0]);

  if (!program)
    return NULL;
  if (system (line) != 0)
    {
      g_autofree char *log = g_strconcat (top, ".log", NULL), *text = NULL;
      g_file_get_contents (log, &text, NULL, NULL);
      g_error ("%s: %s", line, text);
    }
  return g_steal_pointer (&image);
}

static H2kDriverTree *
open_tree (const char *image)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFile) file = h2k_file_open (image, &error);
  H2kIso *iso = file ? h2k_iso_open (file, &error) : NULL;
  H2kDriverTree *tree = iso ? h2k_driver_tree_new_iso (iso, "x.iso", &error) : NULL;

  g_assert_no_error (error);
  return tree;
}

static void
assert_file (H2kDriverTree *tree, const char *path, const char *text)
{
  const H2kDriverNode *node = h2k_driver_tree_find (tree, NULL, path);
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = NULL;

  g_test_message ("%s", path);
  g_assert_nonnull (node);
  bytes = h2k_driver_tree_read (tree, node, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes), text, strlen (text));
}

static void
test_rock_ridge (void)
{
  static const char *const makers[] = {
      "genisoimage -quiet -R -V virtio-win-0.1.285",
      "genisoimage -quiet -r -J -joliet-long -iso-level 4 -V virtio-win-0.1.285",
      "xorriso -as mkisofs -quiet -R -iso-level 3 -V virtio-win-0.1.285",
      "xorriso -as mkisofs -quiet -R -J -joliet-long -iso-level 4 -V virtio-win-0.1.285",
  };
  guint n = 0;

  for (gsize i = 0; i < G_N_ELEMENTS (makers); i++)
    {
      /* Names that go on in another place; with many of them xorriso 1.5.4 counts wrong. */
      gboolean can_long = g_str_has_prefix (makers[i], "genisoimage") && !strstr (makers[i], "-J");
      g_autofree char *top = make_folder (can_long ? 240 : 60);
      g_autofree char *image = make_image (makers[i], top);
      H2kDriverTree *tree = image ? open_tree (image) : NULL;
      const H2kDriverNode *node;

      if (!tree)
        continue;
      g_test_message ("%s", makers[i]);
      assert_file (tree, "viostor/w10/amd64/viostor.inf", "an INF");
      assert_file (tree, "VIOSTOR/W10/arm64/Viostor.INF", "another");
      assert_file (tree, "viostor/2k12R2/amd64/viostor.sys", "");
      assert_file (tree, "plain/" LONG_NAME, "long");
      node = h2k_driver_tree_find (tree, NULL, "viostor/2k12r2/AMD64");
      g_assert_cmpstr (node->path, ==, "viostor/2k12R2/amd64");
      g_assert_cmpuint (h2k_driver_tree_find (tree, NULL, "many")->children->len, ==, 200);
      g_assert_null (h2k_driver_tree_find (tree, NULL, "plain/link"));
      g_assert_null (h2k_driver_tree_find (tree, NULL, "viostor/w10/amd64/viostor.inf/x"));
      h2k_driver_tree_free (tree);
      n++;
    }
  if (n == 0)
    g_test_skip ("neither genisoimage nor xorriso is installed");
}

/* Without Rock Ridge there are the names of Joliet, and without those the short ones. */
static void
test_other_names (void)
{
  g_autofree char *top = make_folder (60);
  g_autofree char *many = join (top, "many");
  g_autofree char *image = NULL, *remove = g_strdup_printf ("rm -rf %s %s/plain/link", many, top);
  H2kDriverTree *tree;

  g_assert_cmpint (system (remove), ==, 0);
  put (top, "plain/M\xc3\xbcller.sys", "umlaut");
  image = make_image ("genisoimage -quiet -J -joliet-long -input-charset utf-8", top);
  if (!image)
    {
      g_test_skip ("genisoimage is not installed");
      return;
    }
  tree = open_tree (image);
  assert_file (tree, "viostor/w10/ARM64/viostor.inf", "another");
  assert_file (tree, "plain/" LONG_NAME, "long");
  assert_file (tree, "plain/M\xc3\xbcller.sys", "umlaut");
  h2k_driver_tree_free (tree);
  g_free (image);
  image = make_image ("genisoimage -quiet -input-charset iso8859-1", top);
  tree = open_tree (image);
  assert_file (tree, "viostor/w10/amd64/viostor.inf", "an INF");
  g_assert_cmpstr (h2k_driver_tree_find (tree, NULL, "viostor/w10/amd64/viostor.inf")->name, ==,
                   "VIOSTOR.INF");
  h2k_driver_tree_free (tree);
}

static void
test_label (void)
{
  g_autofree char *top = make_folder (60);
  g_autofree char *image = make_image ("genisoimage -quiet -R -V virtio-win-0.1.285", top);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFile) file = NULL;
  g_autoptr (H2kIso) iso = NULL;

  if (!image)
    {
      g_test_skip ("genisoimage is not installed");
      return;
    }
  file = h2k_file_open (image, &error);
  iso = h2k_iso_open (file, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (h2k_iso_label (iso), ==, "virtio-win-0.1.285");
}

static void
test_no_iso (void)
{
  static const gsize sizes[] = {0, 1, 32768, 34815, 34816, 100000};
  g_autofree guint8 *bytes = g_malloc0 (100000);

  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autoptr (GError) error = NULL;
      g_autoptr (H2kFile) file = h2k_file_new_memory ("some.iso", bytes, sizes[i]);
      g_assert_null (h2k_iso_open (file, &error));
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
      g_assert_nonnull (strstr (error->message, "some.iso is not an ISO image"));
    }
}

static guint
count_nodes (const H2kDriverNode *node)
{
  guint n = 1;

  for (guint i = 0; node->is_folder && i < node->children->len; i++)
    n += count_nodes (node->children->pdata[i]);
  return n;
}

/* Every byte of the folders changed, one after the other: what is found lies in the image, and
 * there is no end without it. */
static void
test_damaged (void)
{
  g_autofree char *top = g_dir_make_tmp ("iso-XXXXXX", NULL);
  g_autofree char *image = NULL, *text = NULL;
  gsize size;
  guint whole = 0, most = 0;

  put (top, "viostor/w10/amd64/viostor.inf", "an INF");
  put (top, "plain/" LONG_NAME, "long");
  image = make_image ("genisoimage -quiet -R -no-pad", top);
  if (!image)
    {
      g_test_skip ("genisoimage is not installed");
      return;
    }
  g_assert_true (g_file_get_contents (image, &text, &size, NULL));
  for (gsize at = 0x8000; at <= size; at++)
    {
      g_autoptr (H2kFile) file = NULL;
      g_autoptr (GError) error = NULL;
      H2kIso *iso;
      H2kDriverTree *tree;

      if (at < size)
        text[at] ^= 0xff;
      file = h2k_file_new_memory ("x.iso", text, size);
      iso = h2k_iso_open (file, &error);
      tree = iso ? h2k_driver_tree_new_iso (iso, "x.iso", &error) : NULL;
      if (tree)
        {
          whole = count_nodes (h2k_driver_tree_find (tree, NULL, ""));
          most = MAX (most, whole);
          h2k_driver_tree_free (tree);
        }
      if (at < size)
        text[at] ^= 0xff;
    }
  /* The last one was not changed: the top, its two folders, theirs, two files. */
  g_assert_cmpuint (whole, ==, 7);
  g_assert_cmpuint (most, <=, 7);
}

/* As a download that was interrupted: the folders are all there, the files are not. */
static void
test_cut_off (void)
{
  g_autofree char *top = g_dir_make_tmp ("iso-XXXXXX", NULL);
  g_autofree char *image = NULL, *text = NULL;
  gsize size;

  put (top, "viostor/w10/amd64/viostor.inf", "an INF");
  put (top, "viostor/w10/amd64/viostor.sys", "a driver");
  image = make_image ("genisoimage -quiet -R -no-pad", top);
  if (!image)
    {
      g_test_skip ("genisoimage is not installed");
      return;
    }
  g_assert_true (g_file_get_contents (image, &text, &size, NULL));
  for (gsize cut = 0; cut <= 2048; cut += 2048)
    {
      g_autoptr (H2kFile) file = h2k_file_new_memory ("x.iso", text, size - cut);
      g_autoptr (GError) error = NULL;
      H2kIso *iso = h2k_iso_open (file, &error);

      if (!cut)
        {
          g_assert_no_error (error);
          h2k_iso_free (iso);
          continue;
        }
      g_assert_null (iso);
      g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
      g_assert_nonnull (strstr (error->message, "cut off"));
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/iso/Rock Ridge names, without case, no links", test_rock_ridge);
  g_test_add_func ("/iso/names of Joliet, and short ones", test_other_names);
  g_test_add_func ("/iso/the volume's label", test_label);
  g_test_add_func ("/iso/what is no ISO is refused", test_no_iso);
  g_test_add_func ("/iso/damaged folders", test_damaged);
  g_test_add_func ("/iso/one that is cut off is refused", test_cut_off);
  return g_test_run ();
}
