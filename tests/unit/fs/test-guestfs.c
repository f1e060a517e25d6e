/* test-guestfs.c - one appliance for filesystems of four types: what our own drivers wrote it
 * reads, and what it writes our own drivers read, with modes, owners, sizes, attributes and
 * contents; the filesystems' own checks find nothing, there and here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/guestfs.h"
#include "images.h"

#include <sys/stat.h>

typedef struct
{
  const char *type;
  const char *size, *make; /* "@/image" */
  const char *check;
  gboolean is_unix;   /* owners, links and attributes */
  gboolean is_native; /* our own driver writes it */
} Type;

static const Type types[] = {
    {"ext4", "64M", "mke2fs -q -F -t ext4 -I 256 @/image", "e2fsck -fn @/image", TRUE, TRUE},
    {"vfat", "64M", "mkfs.fat @/image", "fsck.fat -n @/image", FALSE, TRUE},
    {"xfs", "300M", "mkfs.xfs -q @/image", "xfs_repair -n @/image", TRUE, FALSE},
    {"btrfs", "128M", "mkfs.btrfs -q @/image", "btrfs check --readonly @/image", TRUE, FALSE},
};

typedef struct
{
  const Type *type;
  H2kDisk *overlay;
  H2kFs *fs; /* by the appliance */
  char *listing;
} Volume;

/* --- what a filesystem holds ------------------------------------------------------------------ */

static gint
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *)a, *(char *const *)b);
}

static void
append_attributes (GString *out, H2kFs *fs, const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) names = fs->ops->list_xattr (fs, path, &error);

  g_assert_no_error (error);
  g_ptr_array_sort (names, compare_names);
  for (guint i = 0; i < names->len; i++)
    {
      g_autoptr (GBytes) value = fs->ops->get_xattr (fs, path, names->pdata[i], &error);
      g_autofree char *sum = NULL;

      g_assert_no_error (error);
      g_assert_nonnull (value);
      sum = g_compute_checksum_for_bytes (G_CHECKSUM_MD5, value);
      g_string_append_printf (out, " %s=%s", (char *)names->pdata[i], sum);
    }
}

static void
append_content (GString *out, H2kFs *fs, const char *path, const H2kStat *st)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = NULL;
  g_autofree char *text = NULL;

  if (S_ISREG (st->mode))
    {
      bytes = fs->ops->read (fs, path, 0, (gsize)st->size + 1, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (g_bytes_get_size (bytes), ==, st->size);
      text = g_compute_checksum_for_bytes (G_CHECKSUM_MD5, bytes);
    }
  else
    {
      text = fs->ops->readlink (fs, path, &error);
      g_assert_no_error (error);
    }
  g_string_append_printf (out, " %s", text);
}

/* A line for PATH and all below it. */
static void
append_listing (GString *out, H2kFs *fs, const char *path, gboolean is_unix)
{
  g_autoptr (GPtrArray) names = NULL;
  H2kStat st;

  CHECK (fs->ops->lstat (fs, path, &st, &error));
  g_string_append_printf (out, "%s %o %u:%u %u %" G_GINT64_FORMAT, path, st.mode, st.uid, st.gid,
                          S_ISDIR (st.mode) ? 0 : st.nlink, st.mtime);
  if (S_ISREG (st.mode) || S_ISLNK (st.mode))
    g_string_append_printf (out, " %" G_GUINT64_FORMAT, st.size);
  if (S_ISREG (st.mode) || S_ISLNK (st.mode))
    append_content (out, fs, path, &st);
  if (is_unix)
    append_attributes (out, fs, path);
  g_string_append_c (out, '\n');
  if (!S_ISDIR (st.mode))
    return;
  names = fs->ops->list (fs, path, NULL);
  g_assert_nonnull (names);
  g_ptr_array_sort (names, compare_names);
  for (guint i = 0; i < names->len; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      append_listing (out, fs, sub, is_unix);
    }
}

static char *
listing (const Type *type, H2kFs *fs)
{
  GString *out = g_string_new (NULL);

  append_listing (out, fs, "/", type->is_unix);
  return g_string_free (out, FALSE);
}

/* --- changing --------------------------------------------------------------------------------- */

static void
put_large (H2kFs *fs, const char *path, gsize length)
{
  g_autofree guint8 *data = g_malloc (length);

  for (gsize i = 0; i < length; i++)
    data[i] = (guint8)(i * 11 + i / 257);
  CHECK (fs->ops->create (fs, path, 0600, 0, 0, NULL, &error));
  CHECK (fs->ops->write (fs, path, 0, data, length, &error));
}

static void
put_attribute (H2kFs *fs, const char *path, const char *name, gsize length)
{
  g_autofree char *text = g_strnfill (length, 'v');
  g_autoptr (GBytes) value = g_bytes_new (text, length);

  CHECK (fs->ops->set_xattr (fs, path, name, value, &error));
}

static void
populate_unix (H2kFs *fs, const char *dir)
{
  const H2kStat st = {.mode = 04751, .uid = 70000, .gid = 80000, .atime = 1e9, .mtime = 1234567890};
  g_autofree char *file = g_build_filename (dir, "owned", NULL);
  g_autofree char *link = g_build_filename (dir, "link", NULL);
  g_autofree char *labelled = g_build_filename (dir, "labelled", NULL);

  image_put (fs, file, "owned\n");
  CHECK (fs->ops->set_stat (fs, file, &st, &error));
  CHECK (fs->ops->create (fs, link, 0777, 0, 0, "../somewhere/\xc3\xa4 else", &error));
  image_put (fs, labelled, "x");
  put_attribute (fs, labelled, "security.selinux", 33);
  put_attribute (fs, labelled, "user.empty", 0);
  put_attribute (fs, labelled, "user.large", 700);
  put_attribute (fs, labelled, "user.gone", 10);
  CHECK (fs->ops->set_xattr (fs, labelled, "user.gone", NULL, &error));
}

static void
populate (const Type *type, H2kFs *fs, const char *dir)
{
  static const char *const names[]
      = {"short", "a rather long name, with \xc3\xa4", "empty", "cut", "moved", "gone", "large",
         "sub"};
  char *paths[G_N_ELEMENTS (names)];

  CHECK (fs->ops->create (fs, dir, S_IFDIR | 0755, 0, 0, NULL, &error));
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    paths[i] = g_build_filename (dir, names[i], NULL);
  image_put (fs, paths[0], "short\n");
  image_put (fs, paths[1], "longer\n");
  image_put (fs, paths[2], "");
  image_put (fs, paths[3], "this is cut");
  CHECK (fs->ops->truncate (fs, paths[3], 4, &error));
  image_put (fs, paths[5], "moved\n");
  CHECK (fs->ops->rename (fs, paths[5], paths[4], &error));
  image_put (fs, paths[5], "removed");
  CHECK (fs->ops->remove (fs, paths[5], &error));
  put_large (fs, paths[6], 3000001);
  CHECK (fs->ops->create (fs, paths[7], S_IFDIR | 0755, 0, 0, NULL, &error));
  if (type->is_unix)
    populate_unix (fs, dir);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    g_free (paths[i]);
}

/* --- both ways -------------------------------------------------------------------------------- */

static char *
native_listing (const Volume *v)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFs) fs = h2k_fs_open (v->overlay, &error);

  g_assert_no_error (error);
  g_assert_false (h2k_guestfs_serves (fs));
  return listing (v->type, fs);
}

static void
make_volume (Volume *v, const Type *type)
{
  g_autoptr (H2kDisk) disk = NULL;

  v->type = type;
  image_run (NULL, "rm -f @/image");
  image_must_run ("truncate -s %s @/image", type->size);
  image_must_run ("%s", type->make);
  disk = image_load ("image");
  v->overlay = h2k_overlay_new (disk, NULL, 64 << 20);
  if (type->is_native)
    {
      g_autoptr (H2kFs) fs = h2k_fs_open (v->overlay, NULL);
      g_assert_nonnull (fs);
      populate (type, fs, "/native");
      CHECK (fs->ops->flush (fs, &error));
    }
  v->listing = native_listing (v);
}

static void
open_volume (Volume *v, H2kGuestfs *guestfs)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFsCheck) check = h2k_fs_check_new ();
  H2kFsId id;

  g_assert_true (h2k_fs_identify (v->overlay, &id, &error));
  g_assert_cmpstr (id.type, ==, v->type->type);
  v->fs = h2k_guestfs_open (guestfs, v->overlay, &id, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (h2k_guestfs_check (v->fs, check, &error)); /* asks for it */
}

/* What the appliance saw is what our driver sees now; both checks are content. */
static void
claim_written (const Volume *v)
{
  const H2kFsCheck *check = h2k_guestfs_last_check (v->fs, NULL);
  g_autofree char *native = native_listing (v), *output = NULL;

  g_assert_cmpstr (native, ==, v->listing);
  g_assert_nonnull (check);
  if (!check->checked)
    g_error ("%s: not checked: %s", v->type->type, check->reason);
  g_assert_cmpstr (check->by, ==, "guestfs");
  g_assert_cmpuint (check->corruptions, ==, 0);
  g_assert_cmpuint (check->notes, ==, 0);
  image_save (v->overlay, "image");
  if (image_run (&output, "%s", v->type->check) != 0)
    g_error ("%s: %s", v->type->check, output);
}

static void
test_both_ways (void)
{
  Volume volumes[G_N_ELEMENTS (types)] = {0};
  g_autoptr (H2kGuestfs) guestfs = NULL;

  if (!h2k_guestfs_available ())
    {
      g_test_skip ("built without libguestfs");
      return;
    }
  if (!image_have ("mkfs.fat") || !image_have ("mkfs.xfs") || !image_have ("mkfs.btrfs"))
    return;
  guestfs = h2k_guestfs_new (NULL);
  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    {
      make_volume (&volumes[i], &types[i]);
      open_volume (&volumes[i], guestfs);
    }
  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    {
      Volume *v = &volumes[i];
      g_autofree char *before = listing (v->type, v->fs);

      g_assert_cmpstr (before, ==, v->listing);
      populate (v->type, v->fs, "/appliance");
      g_free (v->listing);
      v->listing = listing (v->type, v->fs);
      g_assert_nonnull (strstr (v->listing, "/appliance/moved "));
    }
  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    CHECK (volumes[i].fs->ops->flush (volumes[i].fs, &error));
  for (guint i = 0; i < G_N_ELEMENTS (types); i++)
    {
      claim_written (&volumes[i]);
      h2k_fs_free (volumes[i].fs);
      h2k_disk_unref (volumes[i].overlay);
      g_free (volumes[i].listing);
    }
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  g_setenv ("LIBGUESTFS_CACHEDIR", "/var/tmp", FALSE); /* made once, not in each TMPDIR */
  g_test_add_func ("/guestfs/both-ways", test_both_ways);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
