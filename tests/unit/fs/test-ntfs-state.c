/* test-ntfs-state.c - in which state an NTFS volume was left, what may be done to it then, and who
 * may use the files that are made there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include "fs/ntfs-attr.h"
#include "fs/ntfs.h"

#include <sys/stat.h>

static gboolean
have_tools (void)
{
  g_setenv ("LC_ALL", "C.UTF-8", TRUE);
  return image_have ("mkntfs") && image_have ("ntfsresize") && image_have ("ntfsfix")
         && image_have ("ntfs-3g.probe") && image_have ("ntfsinfo");
}

static H2kFs *
make_fs (H2kDisk **disk)
{
  image_must_run ("rm -f @/image");
  image_must_run ("truncate -s 40M @/image");
  image_must_run ("mkntfs -F -q -Q -p 2048 -H 255 -S 63 @/image");
  *disk = image_load ("image");
  return image_open_fs (*disk, "ntfs");
}

static void
assert_clean (H2kDisk *disk)
{
  image_save (disk, "check");
  image_must_run ("ntfsfix -n @/check");
  image_must_run ("ntfsresize -i -f @/check");
}

/* What ntfs-3g says to mounting DISK for writing: 0, 14 (hibernated), 15 (not unmounted). */
static int
probe (H2kDisk *disk)
{
  image_save (disk, "probed");
  return image_run (NULL, "ntfs-3g.probe --readwrite @/probed");
}

/* --- hibernation ------------------------------------------------------------------------------ */

typedef struct
{
  const char *signature;
  guint32 length; /* as the structure says */
  gboolean hibernated, fast_startup;
  int probe;
} Image;

static const Image images[] = {
    {"hibr", 0xe0, TRUE, FALSE, 14},  {"HIBR", 0xe0, TRUE, FALSE, 14},
    {"HIBR", 0x368, TRUE, TRUE, 14},  {"RSTR", 0x368, TRUE, TRUE, 0},
    {"HORM", 0x368, TRUE, TRUE, 0},   {"wake", 0xe0, FALSE, FALSE, 0},
    {"WAKE", 0x368, FALSE, FALSE, 0}, {"", 0, FALSE, FALSE, 0},
};

static void
test_hibernated (gconstpointer data)
{
  const Image *image = data;
  g_autoptr (H2kDisk) disk = NULL;
  guint8 head[8192] = {0};
  guint32 length = GUINT32_TO_LE (image->length);
  const H2kNtfsState *state;
  g_autoptr (GBytes) text = NULL;
  H2kFs *fs;

  if (!have_tools ())
    return;
  fs = make_fs (&disk);
  memcpy (head, image->signature, strlen (image->signature));
  memcpy (head + 12, &length, sizeof length);
  CHECK (fs->ops->create (fs, "/hiberfil.sys", S_IFREG | 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->write (fs, "/hiberfil.sys", 0, head, sizeof head, &error));
  CHECK (fs->ops->flush (fs, &error));
  h2k_fs_free (fs);
  g_assert_cmpint (probe (disk), ==, image->probe);

  fs = image_open_fs (disk, "ntfs");
  state = h2k_ntfs_state (fs);
  g_assert_cmpint (state->hibernated, ==, image->hibernated);
  g_assert_cmpint (state->fast_startup, ==, image->fast_startup);
  g_assert_false (state->log_unclean || state->dirty_flag);
  g_assert_cmpint (fs->frozen != NULL, ==, image->hibernated);
  text = fs->ops->read (fs, "/hiberfil.sys", 0, 4, NULL);
  g_assert_nonnull (text);
  if (image->hibernated)
    {
      g_assert_nonnull (strstr (fs->frozen, "shutdown /s /t 0"));
      FAILS (fs->ops->create (fs, "/x", S_IFREG | 0644, 0, 0, NULL, &error), H2K_ERROR_UNSUPPORTED);
      FAILS (h2k_ntfs_force (fs, &error), H2K_ERROR_UNSUPPORTED);
    }
  else
    CHECK (fs->ops->create (fs, "/x", S_IFREG | 0644, 0, 0, NULL, &error));
  h2k_fs_free (fs);
}

/* --- the log ---------------------------------------------------------------------------------- */

static void
put16 (guint8 *p, guint value)
{
  guint16 le = GUINT16_TO_LE ((guint16)value);
  memcpy (p, &le, sizeof le);
}

static void
put32 (guint8 *p, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (p, &value, sizeof value);
}

#define PAGE 4096u

/* A restart page of a log of SIZE bytes: VERSION is the major one; CLEAN: nobody uses it. */
static void
make_restart_page (guint8 *page, guint64 size, guint version, gboolean clean)
{
  guint8 *area = page + 48, *client = area + 48;

  memset (page, 0, PAGE);
  memcpy (page, "RSTR", 4);
  put16 (page + 4, 30);
  put16 (page + 6, PAGE / 512 + 1);
  put32 (page + 16, PAGE);
  put32 (page + 20, PAGE);
  put16 (page + 24, 48);
  put16 (page + 26, version == 1);
  put16 (page + 28, version);
  put32 (area, 0x100000);
  put16 (area + 8, 1);
  put16 (area + 10, clean ? 0 : 0xffff);
  put16 (area + 12, clean ? 0xffff : 0);
  put16 (area + 14, clean ? 2 : 0);
  put32 (area + 16, 67 - (guint32)g_bit_storage (size));
  put16 (area + 20, 48 + 160);
  put16 (area + 22, 48);
  put32 (area + 24, (guint32)size);
  put16 (area + 36, 48);
  put16 (area + 38, 64);
  put32 (area + 40, 1);
  put16 (client + 16, 0xffff);
  put16 (client + 18, 0xffff);
  put32 (client + 28, 8);
  memcpy (client + 32, "N\0T\0F\0S\0", 8);
  put16 (page + 30, 1);
  for (guint i = 1; i <= PAGE / 512; i++)
    {
      memcpy (page + 30 + 2 * i, page + i * 512 - 2, 2);
      put16 (page + i * 512 - 2, 1);
    }
}

static void
set_log (H2kDisk *disk, guint version, gboolean clean)
{
  g_autoptr (NtfsStream) log = NULL;
  guint8 page[PAGE];
  NtfsVolume volume;
  guint64 at;

  CHECK (h2k_ntfs_open (&volume, disk, &error));
  CHECK (h2k_ntfs_stream (&volume, NTFS_FILE_LOGFILE, 0, NTFS_DATA, "", &log, &error));
  make_restart_page (page, log->size, version, clean);
  at = g_array_index (log->runs, NtfsRun, 0).lcn * volume.cluster_size;
  CHECK (h2k_disk_pwrite (disk, at, PAGE, page, &error));
  CHECK (h2k_disk_pwrite (disk, at + PAGE, PAGE, page, &error));
  h2k_ntfs_clear (&volume);
}

typedef struct
{
  guint version;
  gboolean clean, found_clean, in_use;
  int probe;
} Log;

static const Log logs[] = {
    {1, TRUE, TRUE, FALSE, 0},
    {1, FALSE, FALSE, FALSE, 15},
    {2, FALSE, FALSE, TRUE, 14},
    {2, TRUE, FALSE, TRUE, 14},
};

static void
test_log (gconstpointer data)
{
  const Log *log = data;
  g_autoptr (H2kDisk) disk = NULL;
  g_autofree char *info = NULL;
  const H2kNtfsState *state;
  H2kFs *fs;

  if (!have_tools ())
    return;
  h2k_fs_free (make_fs (&disk));
  set_log (disk, log->version, log->clean);
  g_assert_cmpint (probe (disk), ==, log->probe);

  fs = image_open_fs (disk, "ntfs");
  state = h2k_ntfs_state (fs);
  g_assert_cmpint (state->log_unclean, ==, !log->found_clean);
  g_assert_cmpint (state->log_in_use, ==, log->in_use);
  g_assert_cmpint (fs->frozen != NULL, ==, !log->found_clean);
  image_save (disk, "after");
  image_must_run ("cmp @/probed @/after");
  if (!log->found_clean)
    FAILS (fs->ops->create (fs, "/x", S_IFREG | 0644, 0, 0, NULL, &error), H2K_ERROR_UNSUPPORTED);
  CHECK (h2k_ntfs_force (fs, &error));
  g_assert_cmpint (state->forced, ==, !log->found_clean);
  g_assert_null (fs->frozen);
  CHECK (fs->ops->create (fs, "/x", S_IFREG | 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->flush (fs, &error));
  h2k_fs_free (fs);

  g_assert_cmpint (probe (disk), ==, 0);
  assert_clean (disk);
  g_assert_cmpint (image_run (&info, "ntfsinfo -f -m @/check"), ==, 0);
  g_assert_cmpint (strstr (info, "Volume Flags: 0x0001") != NULL, ==, !log->found_clean);
  fs = image_open_fs (disk, "ntfs");
  g_assert_false (h2k_ntfs_state (fs)->log_unclean);
  g_assert_cmpint (h2k_ntfs_state (fs)->dirty_flag, ==, !log->found_clean);
  h2k_fs_free (fs);
}

static void
test_dirty (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autofree char *info = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  h2k_fs_free (make_fs (&disk));
  h2k_disk_unref (g_steal_pointer (&disk));
  image_must_run ("ntfsfix @/image");
  disk = image_load ("image");
  fs = image_open_fs (disk, "ntfs");
  g_assert_true (h2k_ntfs_state (fs)->dirty_flag);
  g_assert_nonnull (fs->note);
  g_assert_null (fs->frozen);
  CHECK (fs->ops->create (fs, "/x", S_IFREG | 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->flush (fs, &error));
  image_save (disk, "check");
  g_assert_cmpint (image_run (&info, "ntfsinfo -f -m @/check"), ==, 0);
  g_assert_nonnull (strstr (info, "Volume Flags: 0x0001"));
}

static void
test_facts (void)
{
  const H2kNtfsState *state;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  fs = make_fs (&disk);
  state = h2k_ntfs_state (fs);
  g_assert_cmpuint (state->version_major, ==, 3);
  g_assert_cmpuint (state->version_minor, ==, 1);
  g_assert_cmpuint (state->sector_size, ==, 512);
  g_assert_cmpuint (state->cluster_size, ==, 4096);
  g_assert_cmpuint (state->record_size, ==, 1024);
  g_assert_cmpuint (state->serial, !=, 0);
}

static void
test_broken_boot (void)
{
  static const struct
  {
    guint at;
    guint8 value;
  } bytes[] = {{11, 1}, {12, 0}, {13, 3}, {13, 0}, {48, 0xff}, {55, 0x7f}, {64, 1}, {47, 0x7f}};
  g_autoptr (H2kDisk) disk = NULL;
  H2kFsId id = {.type = "ntfs"};

  if (!have_tools ())
    return;
  h2k_fs_free (make_fs (&disk));
  for (gsize i = 0; i < G_N_ELEMENTS (bytes); i++)
    {
      g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 1 << 20);
      CHECK (h2k_disk_pwrite (overlay, bytes[i].at, 1, &bytes[i].value, &error));
      FAILS (h2k_ntfs_ops.open (overlay, &id, &error) != NULL, H2K_ERROR_FILESYSTEM);
    }
}

/* --- who may use new files -------------------------------------------------------------------- */

#define SYSTEM "\1\1\0\0\0\0\0\5\22\0\0\0"
#define ADMINISTRATORS "\1\2\0\0\0\0\0\5\40\0\0\0\40\2\0\0"
#define USERS "\1\2\0\0\0\0\0\5\40\0\0\0\41\2\0\0"
#define CREATOR "\1\1\0\0\0\0\0\3\0\0\0\0"
#define EVERYONE "\1\1\0\0\0\0\0\1\0\0\0\0"

#define OI 1
#define CI 2
#define NP 4
#define IO 8
#define ID 16
#define ALL 0x10000000u
#define READ_EXECUTE 0xa0000000u
#define FILE_ALL 0x001f01ffu
#define FILE_READ_EXECUTE 0x001200a9u

typedef struct
{
  guint8 type, flags;
  guint32 mask;
  const char *sid;
} Entry;

/* The descriptor with the entries up to one without a SID. */
static GBytes *
make_descriptor (const Entry *entries, guint16 control, const char *owner, const char *group)
{
  g_autoptr (GByteArray) made = g_byte_array_new ();
  guint n = 0;

  g_byte_array_set_size (made, 28);
  memset (made->data, 0, 28);
  for (; entries[n].sid; n++)
    {
      gsize size = 8 + 4 * (gsize)entries[n].sid[1];
      guint8 head[8] = {entries[n].type, entries[n].flags};
      put16 (head + 2, (guint)(8 + size));
      put32 (head + 4, entries[n].mask);
      g_byte_array_append (made, head, sizeof head);
      g_byte_array_append (made, (const guint8 *)entries[n].sid, (guint)size);
    }
  made->data[0] = 1;
  put16 (made->data + 2, control);
  put32 (made->data + 16, 20);
  made->data[20] = 2;
  put16 (made->data + 22, made->len - 20);
  put16 (made->data + 24, n);
  put32 (made->data + 4, made->len);
  g_byte_array_append (made, (const guint8 *)owner, 8 + 4 * (guint)owner[1]);
  put32 (made->data + 8, made->len);
  g_byte_array_append (made, (const guint8 *)group, 8 + 4 * (guint)group[1]);
  return g_byte_array_free_to_bytes (g_steal_pointer (&made));
}

typedef struct
{
  const char *name;
  Entry parent[10], file[10], directory[16];
  guint16 control; /* of what is made */
} Inheritance;

static const Inheritance inheritances[] = {
    {"System32/drivers",
     {{0, OI | CI | IO, ALL, CREATOR},
      {0, OI | CI | IO, ALL, SYSTEM},
      {0, 0, 0x1301bf, SYSTEM},
      {0, OI | CI | IO, READ_EXECUTE, USERS},
      {0, 0, FILE_READ_EXECUTE, USERS}},
     {{0, ID, FILE_ALL, ADMINISTRATORS},
      {0, ID, FILE_ALL, SYSTEM},
      {0, ID, FILE_READ_EXECUTE, USERS}},
     {{0, ID, FILE_ALL, ADMINISTRATORS},
      {0, OI | CI | IO | ID, ALL, CREATOR},
      {0, ID, FILE_ALL, SYSTEM},
      {0, OI | CI | IO | ID, ALL, SYSTEM},
      {0, ID, FILE_READ_EXECUTE, USERS},
      {0, OI | CI | IO | ID, READ_EXECUTE, USERS}},
     0x8404},
    {"files alone, directories alone, one level",
     {{0, OI, FILE_ALL, SYSTEM},
      {1, CI, 2, EVERYONE},
      {0, OI | CI | NP, FILE_READ_EXECUTE, USERS},
      {0, CI | NP, ALL, ADMINISTRATORS}},
     {{0, ID, FILE_ALL, SYSTEM}, {0, ID, FILE_READ_EXECUTE, USERS}},
     {{0, OI | IO | ID, FILE_ALL, SYSTEM},
      {1, CI | ID, 2, EVERYONE},
      {0, ID, FILE_READ_EXECUTE, USERS},
      {0, ID, FILE_ALL, ADMINISTRATORS}},
     0x8404},
    {"nothing to inherit",
     {{0, 0, FILE_ALL, EVERYONE}},
     {{0, 0, FILE_ALL, SYSTEM}, {0, 0, FILE_READ_EXECUTE, ADMINISTRATORS}},
     {{0, 0, FILE_ALL, SYSTEM}, {0, 0, FILE_READ_EXECUTE, ADMINISTRATORS}},
     0x8004},
};

static void
assert_descriptor (H2kFs *fs, const char *path, const Entry *entries, guint16 control)
{
  g_autoptr (GBytes) wanted = make_descriptor (entries, control, ADMINISTRATORS, SYSTEM);
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) found = fs->ops->get_xattr (fs, path, "system.ntfs_acl", &error);

  g_assert_no_error (error);
  g_assert_cmpmem (g_bytes_get_data (found, NULL), g_bytes_get_size (found),
                   g_bytes_get_data (wanted, NULL), g_bytes_get_size (wanted));
}

static void
test_inheritance (gconstpointer data)
{
  const Inheritance *test = data;
  g_autoptr (GBytes) parent = make_descriptor (test->parent, 0x9404, USERS, USERS), kept = NULL;
  g_autoptr (GBytes) broken = g_bytes_new_static ("\1", 1);
  g_autofree char *audit = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools () || !image_have ("ntfssecaudit"))
    return;
  fs = make_fs (&disk);
  CHECK (fs->ops->create (fs, "/d", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->set_xattr (fs, "/d", "system.ntfs_acl", parent, &error));
  for (guint i = 0; i < 3; i++)
    {
      g_autofree char *path = g_strdup_printf ("/d/file%u", i);
      CHECK (fs->ops->create (fs, path, S_IFREG | 0644, 0, 0, NULL, &error));
      assert_descriptor (fs, path, test->file, test->control);
    }
  CHECK (fs->ops->create (fs, "/d/sub", S_IFDIR | 0755, 0, 0, NULL, &error));
  assert_descriptor (fs, "/d/sub", test->directory, test->control);
  /* What is there keeps its own. */
  CHECK (fs->ops->set_xattr (fs, "/d/file0", "system.ntfs_acl", parent, &error));
  CHECK (fs->ops->truncate (fs, "/d/file0", 0, &error));
  image_put (fs, "/d/file0", "new content");
  kept = fs->ops->get_xattr (fs, "/d/file0", "system.ntfs_acl", NULL);
  g_assert_true (g_bytes_equal (kept, parent));
  FAILS (fs->ops->set_xattr (fs, "/d/sub", "system.ntfs_acl", broken, &error),
         H2K_ERROR_UNSUPPORTED);
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  g_assert_cmpint (image_run (&audit, "ntfssecaudit -a @/check"), ==, 0);
  g_assert_null (strstr (audit, "unsane"));
}

/* --- files of a kind of their own ------------------------------------------------------------- */

/* Set FLAGS in the attributes of the file with the number RECORD on DISK. */
static void
set_attributes (H2kDisk *disk, guint64 record, guint32 flags)
{
  NtfsVolume volume;
  guint8 data[1024];
  guint64 at;
  guint information;

  CHECK (h2k_ntfs_open (&volume, disk, &error));
  at = volume.mft * volume.cluster_size + record * volume.record_size;
  CHECK (h2k_disk_pread (disk, at, sizeof data, data, &error));
  information = h2k_le16 (data + 20);
  g_assert_cmpuint (h2k_le32 (data + information), ==, 0x10);
  information += h2k_le16 (data + information + 20) + 32;
  put32 (data + information, h2k_le32 (data + information) | flags);
  CHECK (h2k_disk_pwrite (disk, at, sizeof data, data, &error));
  h2k_ntfs_clear (&volume);
}

static void
test_encrypted (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  H2kStat st;
  H2kFs *fs;

  if (!have_tools ())
    return;
  fs = make_fs (&disk);
  CHECK (fs->ops->create (fs, "/secret", S_IFREG | 0644, 0, 0, NULL, &error));
  image_put (fs, "/secret", "text");
  CHECK (fs->ops->lstat (fs, "/secret", &st, &error));
  CHECK (fs->ops->flush (fs, &error));
  h2k_fs_free (fs);
  set_attributes (disk, st.inode, 0x4000);
  fs = image_open_fs (disk, "ntfs");
  CHECK (fs->ops->lstat (fs, "/secret", &st, &error));
  FAILS (fs->ops->read (fs, "/secret", 0, 10, &error) != NULL, H2K_ERROR_UNSUPPORTED);
  FAILS (fs->ops->write (fs, "/secret", 0, "x", 1, &error), H2K_ERROR_UNSUPPORTED);
  h2k_fs_free (fs);
}

/* --- real volumes ----------------------------------------------------------------------------- */

static guint
count_files (H2kFs *fs, const char *dir, guint depth)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (GPtrArray) names = fs->ops->list (fs, dir, &failure);
  guint n = 0;

  g_assert_no_error (failure);
  for (guint i = 0; i < names->len; i++)
    {
      g_autofree char *path
          = g_strconcat (g_str_equal (dir, "/") ? "" : dir, "/", names->pdata[i], NULL);
      g_autoptr (GBytes) content = NULL;
      H2kStat st;

      n++;
      CHECK (fs->ops->lstat (fs, path, &st, &error));
      if (S_ISDIR (st.mode) && depth < 20)
        n += count_files (fs, path, depth + 1);
      if (!S_ISREG (st.mode))
        continue;
      content = fs->ops->read (fs, path, 0, 1 << 20, &failure);
      g_assert_no_error (failure);
      g_assert_cmpuint (g_bytes_get_size (content), ==, MIN (st.size, 1 << 20));
    }
  return n;
}

static void
test_sample (void)
{
  const char *folder = g_getenv ("H2K_TESTDATA");
  g_autofree char *path
      = g_build_filename (folder ? folder : "", "disk/dfir_ntfs/test_data/ntfs3.raw.gz", NULL);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  guint files;

  if (!folder || !g_file_test (path, G_FILE_TEST_EXISTS))
    {
      g_test_skip ("H2K_TESTDATA does not name the real samples");
      return;
    }
  if (!have_tools ())
    return;
  image_must_run ("cp %s @/image.gz", path);
  image_must_run ("gzip -d -f @/image.gz");
  disk = image_load ("image");
  fs = image_open_fs (disk, "ntfs");
  files = count_files (fs, "/", 0);
  g_test_message ("%u files, %s", files, fs->frozen ? fs->frozen : "clean");
  g_assert_cmpuint (files, >, 0);
  g_assert_cmpint (fs->frozen == NULL, ==, probe (disk) == 0);
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (images); i++)
    {
      g_autofree char *name
          = g_strdup_printf ("/ntfs-state/hiberfil.sys begins with \"%s\", %#x bytes: %s",
                             images[i].signature, images[i].length,
                             images[i].hibernated ? "not to be written" : "of no concern");
      g_test_add_data_func (name, &images[i], test_hibernated);
    }
  for (gsize i = 0; i < G_N_ELEMENTS (logs); i++)
    {
      g_autofree char *name = g_strdup_printf ("/ntfs-state/a log of version %u that is %s",
                                               logs[i].version, logs[i].clean ? "clean" : "not");
      g_test_add_data_func (name, &logs[i], test_log);
    }
  g_test_add_func ("/ntfs-state/the dirty flag is told and kept", test_dirty);
  g_test_add_func ("/ntfs-state/version, sizes and serial number are known", test_facts);
  g_test_add_func ("/ntfs-state/a boot sector that makes no sense is refused", test_broken_boot);
  for (gsize i = 0; i < G_N_ELEMENTS (inheritances); i++)
    {
      g_autofree char *name
          = g_strdup_printf ("/ntfs-state/new files inherit (%s)", inheritances[i].name);
      g_test_add_data_func (name, &inheritances[i], test_inheritance);
    }
  g_test_add_func ("/ntfs-state/encrypted files are refused", test_encrypted);
  g_test_add_func ("/ntfs-state/a real volume is read, and judged as ntfs-3g does", test_sample);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
