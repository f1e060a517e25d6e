/* test-vmdk-delta.c - snapshots of ESX: COWD and seSparse extents and chains of them, written here
 * with random layouts and read as qemu-img reads them; damaged, incomplete, and given by the wrong
 * name.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vmdk.h"
#include "vmdk-delta-image.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

#define KIB G_GUINT64_CONSTANT (1024)
#define MIB (1024 * KIB)
#define TIB (1024 * 1024 * MIB)

/* --- a folder for each test ------------------------------------------------------------------- */

typedef struct
{
  char *path;
} Folder;

static void
folder_set_up (Folder *folder, gconstpointer data)
{
  g_autoptr (GError) error = NULL;

  folder->path = g_dir_make_tmp ("h2k-delta-XXXXXX", &error);
  g_assert_no_error (error);
}

static void
folder_tear_down (Folder *folder, gconstpointer data)
{
  g_autoptr (GDir) dir = g_dir_open (folder->path, 0, NULL);
  const char *name;

  while ((name = g_dir_read_name (dir)))
    {
      g_autofree char *child = g_build_filename (folder->path, name, NULL);
      g_unlink (child);
    }
  g_rmdir (folder->path);
  g_free (folder->path);
}

static char *
in (Folder *folder, const char *name)
{
  return g_build_filename (folder->path, name, NULL);
}

static void
put (Folder *folder, const char *name, gconstpointer data, gsize size)
{
  g_autofree char *path = in (folder, name);
  int fd = g_open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (h2k_pwrite_full (fd, data, size, 0), ==, 0);
  g_assert_cmpint (close (fd), ==, 0);
}

static void
put_text (Folder *folder, const char *name, const char *text)
{
  put (folder, name, text, strlen (text));
}

static void
drop (Folder *folder, const char *name)
{
  g_autofree char *path = in (folder, name);

  g_assert_cmpint (g_unlink (path), ==, 0);
}

static H2kDisk *
open_ok (Folder *folder, const char *name)
{
  g_autofree char *path = in (folder, name);
  g_autoptr (GError) error = NULL;
  H2kDisk *disk = h2k_disk_open (path, NULL, &error);

  g_assert_no_error (error);
  return disk;
}

/* NAME is refused with CODE and a message that holds all of WORDS, which are separated by '|'. */
static void
assert_refused (Folder *folder, const char *name, int code, const char *words)
{
  g_autofree char *path = in (folder, name);
  g_auto (GStrv) list = g_strsplit (words, "|", -1);
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = h2k_disk_open (path, NULL, &error);

  g_assert_null (disk);
  g_test_message ("%s", error->message);
  g_assert_error (error, H2K_ERROR, code);
  for (char **word = list; *word; word++)
    if (!strstr (error->message, *word))
      g_error ("\"%s\" does not say \"%s\"", error->message, *word);
}

/* DISK is CONTENT, read at once, by extents, and in pieces that start and end anywhere. */
static void
assert_content (H2kDisk *disk, const guint8 *content, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autofree guint8 *got = g_malloc (size);
  H2kExtent extent;

  g_assert_cmpuint (disk->size, ==, size);
  memset (got, 0xa5, size);
  g_assert_true (h2k_disk_pread (disk, 0, size, got, &error));
  g_assert_cmpmem (got, size, content, size);
  for (guint64 offset = 0; offset < size; offset += extent.length)
    {
      g_assert_true (h2k_disk_extent (disk, offset, size, &extent, &error));
      g_assert_cmpuint (extent.offset, ==, offset);
      g_assert_cmpuint (extent.length, >, 0);
      if (extent.kind != H2K_EXTENT_DATA)
        g_assert_true (h2k_is_zero (content + offset, extent.length));
    }
  for (guint i = 0; i < 100; i++)
    {
      gsize offset = (gsize)g_test_rand_int_range (0, (gint32)size);
      gsize length = (gsize)g_test_rand_int_range (1, (gint32)MIN (size - offset, 300000) + 1);

      memset (got, 0xa5, length);
      g_assert_true (h2k_disk_pread (disk, offset, length, got, &error));
      g_assert_cmpmem (got, length, content + offset, length);
    }
}

/* --- one extent ------------------------------------------------------------------------------- */

/* One grain, less, more than a table, grains of several sizes, ends that are no grain's. */
static const struct
{
  DeltaKind kind;
  guint64 sectors;
  guint grain;
} layouts[] = {
    {COWD, 1, 1},     {COWD, 7, 1},      {COWD, 4096, 1},      {COWD, 3 * 4096 + 5, 1},
    {COWD, 4001, 8},  {COWD, 9000, 128}, {COWD, 9001, 3},      {SESPARSE, 1, 8},
    {SESPARSE, 8, 8}, {SESPARSE, 13, 8}, {SESPARSE, 32768, 8}, {SESPARSE, 33001, 8},
};

static guint8 *
new_content (guint64 sectors)
{
  return g_malloc0 (sectors * SECTOR + 128 * SECTOR);
}

static Delta
put_delta (Folder *folder, gsize i, guint8 *content)
{
  Delta delta = delta_new (layouts[i].kind, layouts[i].sectors, layouts[i].grain);
  g_autofree char *text
      = delta_descriptor (layouts[i].kind, layouts[i].sectors, "vm-delta.vmdk", 1, 0, NULL);

  delta_scribble (&delta, content, 60);
  put (folder, "vm-delta.vmdk", delta.file->data, delta.file->len);
  put_text (folder, "vm.vmdk", text);
  return delta;
}

static void
test_layouts (Folder *folder, gconstpointer data)
{
  for (gsize i = 0; i < G_N_ELEMENTS (layouts); i++)
    {
      g_autofree guint8 *content = new_content (layouts[i].sectors);
      g_auto (Delta) delta = put_delta (folder, i, content);
      g_autoptr (H2kDisk) disk = open_ok (folder, "vm.vmdk");

      g_test_message ("layout %" G_GSIZE_FORMAT, i);
      assert_content (disk, content, layouts[i].sectors * SECTOR);
      g_assert_cmpstr (disk->format, ==, "vmdk");
      g_assert_cmpstr (disk->subformat, ==, delta.kind == COWD ? "vmfsSparse" : "seSparse");
      g_assert_cmpuint (disk->files->len, ==, 2);
    }
}

static void
test_extent_kinds (Folder *folder, gconstpointer data)
{
  const guint64 sectors = 8 * ENTRIES * 5;
  static const struct
  {
    guint64 grain;
    GrainState state;
  } puts[] = {{0, GRAIN_DATA},
              {1, GRAIN_DATA},
              {3, GRAIN_ZERO},
              {4, GRAIN_UNMAPPED},
              {3 * ENTRIES, GRAIN_DATA}};
  static const struct
  {
    guint64 grain, grains;
    H2kExtentKind kind;
  } runs[] = {
      {0, 2, H2K_EXTENT_DATA},
      {2, 1, H2K_EXTENT_UNALLOCATED},
      {3, 2, H2K_EXTENT_ZERO},
      {5, 3 * ENTRIES - 5, H2K_EXTENT_UNALLOCATED}, /* over tables that are not there */
      {3 * ENTRIES, 1, H2K_EXTENT_DATA},
      {3 * ENTRIES + 1, 2 * ENTRIES - 1, H2K_EXTENT_UNALLOCATED},
  };
  g_auto (Delta) delta = delta_new (SESPARSE, sectors, 8);
  g_autofree char *text = delta_descriptor (SESPARSE, sectors, "d", 1, 0, NULL);
  g_autoptr (H2kDisk) disk = NULL;
  guint8 grain[4096] = {1};

  for (gsize i = 0; i < G_N_ELEMENTS (puts); i++)
    delta_put_grain (&delta, puts[i].grain, grain, puts[i].state);
  put (folder, "d", delta.file->data, delta.file->len);
  put_text (folder, "vm.vmdk", text);
  disk = open_ok (folder, "vm.vmdk");
  for (gsize i = 0; i < G_N_ELEMENTS (runs); i++)
    {
      H2kExtent extent;
      g_assert_true (h2k_disk_extent (disk, runs[i].grain * 4096 + 7, disk->size, &extent, NULL));
      g_assert_cmpuint (extent.length, ==, runs[i].grains * 4096 - 7);
      g_assert_cmpint (extent.kind, ==, runs[i].kind);
    }
}

/* Files with the layout that ESXi makes, for the largest disks: nothing grows with the size. */
static void
test_largest (Folder *folder, gconstpointer data)
{
  g_autofree char *path = in (folder, "d"), *sesparse = NULL;
  const guint64 size = 62 * TIB, tables = size / (16 * MIB), area = tables * 64;
  guint8 header[2 * SECTOR] = {0}, entry[8], got[8192];
  g_auto (Delta) delta = delta_new_sesparse (size / SECTOR, 2048);
  g_autoptr (H2kDisk) disk = NULL;
  H2kExtent extent;
  guint n = 0;
  int fd;

  memcpy (header, delta.file->data, sizeof header);
  delta_put_le (header + 0x80, 2048, 8); /* directory */
  delta_put_le (header + 0x88, tables / 64, 8);
  delta_put_le (header + 0x90, area, 8); /* tables */
  delta_put_le (header + 0x98, area, 8);
  delta_put_le (header + 0xc0, 2 * area, 8); /* grains */
  fd = g_open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (h2k_pwrite_full (fd, header, sizeof header, 0), ==, 0);
  delta_put_le (entry, G_GUINT64_CONSTANT (1) << 60 | (tables - 1), 8); /* the last table */
  g_assert_cmpint (h2k_pwrite_full (fd, entry, 8, 2048 * SECTOR + (tables - 1) * 8), ==, 0);
  delta_put_le (entry, delta_swizzle (0x12345), 8); /* of the last grain */
  g_assert_cmpint (h2k_pwrite_full (fd, entry, 8, 2 * area * SECTOR - 8), ==, 0);
  memset (got, 'x', 4096);
  g_assert_cmpint (h2k_pwrite_full (fd, got, 4096,
                                    2 * area * SECTOR + G_GUINT64_CONSTANT (0x12345) * 4096),
                   ==, 0);
  close (fd);
  sesparse = delta_descriptor (SESPARSE, size / SECTOR, "d", 1, 0, NULL);
  put_text (folder, "vm.vmdk", sesparse);
  disk = open_ok (folder, "vm.vmdk");
  g_assert_cmpuint (disk->size, ==, size);
  for (guint64 at = 0; at < size; at += extent.length, n++)
    {
      g_assert_true (h2k_disk_extent (disk, at, size, &extent, NULL));
      g_assert_cmpint (extent.kind, ==,
                       at < size - 4096 ? H2K_EXTENT_UNALLOCATED : H2K_EXTENT_DATA);
    }
  g_assert_cmpuint (n, <, 200);
  g_assert_true (h2k_disk_pread (disk, size - 8192, 8192, got, NULL));
  g_assert_true (h2k_is_zero (got, 4096) && got[4096] == 'x' && got[8191] == 'x');
}

/* --- chains ----------------------------------------------------------------------------------- */

typedef struct
{
  guint8 *content;
  guint64 sectors;
} Level;

/* FLAT, and LEVELS deltas over it, which may grow: vm-flat.vmdk, vm.vmdk, vm-000001-delta.vmdk,
 * vm-000001.vmdk ... CONTENT is the newest's. */
static Level
make_chain (Folder *folder, guint levels, gboolean absolute)
{
  Level level = {NULL, (guint64)g_test_rand_int_range (4000, 15000)};
  g_autofree char *base = NULL, *parent = g_strdup ("vm.vmdk");

  level.content = new_content (level.sectors);
  for (gsize i = 0; i < level.sectors * SECTOR; i++)
    level.content[i] = i / 40000 % 3 ? (guint8)(i / 512 * 7 + i) : 0;
  put (folder, "vm-flat.vmdk", level.content, level.sectors * SECTOR);
  base = g_strdup_printf ("# Disk DescriptorFile\nversion=1\nCID=100\nparentCID=ffffffff\n"
                          "createType=\"vmfs\"\nRW %" G_GUINT64_FORMAT " VMFS \"vm-flat.vmdk\"\n",
                          level.sectors);
  put_text (folder, "vm.vmdk", base);
  for (guint i = 1; i <= levels; i++)
    {
      const DeltaKind kind = (DeltaKind)g_test_rand_int_range (0, 2);
      const guint64 grown = level.sectors + (guint64)g_test_rand_int_range (0, 5000) * (i % 2);
      guint8 *content = new_content (grown);
      g_auto (Delta) delta = delta_new (kind, grown, g_test_rand_int_range (0, 3) ? 1 : 16);
      g_autofree char *file
          = g_strdup_printf ("vm-%06u-%s.vmdk", i, kind == COWD ? "delta" : "sesparse");
      g_autofree char *name = g_strdup_printf ("vm-%06u.vmdk", i);
      g_autofree char *hint = g_strconcat (absolute ? "/vmfs/volumes/5f/vm/" : "", parent, NULL);
      g_autofree char *text = delta_descriptor (kind, grown, file, 0x100 + i, 0xff + i, hint);

      memcpy (content, level.content, level.sectors * SECTOR);
      g_free (level.content);
      level = (Level){content, grown};
      delta_scribble (&delta, content, 200);
      put (folder, file, delta.file->data, delta.file->len);
      put_text (folder, name, text);
      g_free (parent);
      parent = g_steal_pointer (&name);
    }
  return level;
}

static void
test_chains (Folder *folder, gconstpointer data)
{
  for (guint i = 0; i < 8; i++)
    {
      const guint levels = 1 + i % 4;
      g_autofree char *name = g_strdup_printf ("vm-%06u.vmdk", levels);
      Level level = make_chain (folder, levels, i % 2);
      g_autoptr (H2kDisk) disk = open_ok (folder, name);

      assert_content (disk, level.content, level.sectors * SECTOR);
      g_assert_cmpuint (disk->files->len, ==, 2 * (levels + 1));
      g_assert_nonnull (disk->backing);
      g_free (level.content);
    }
}

static gboolean
run (Folder *folder, const char *const *argv)
{
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new (
      G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
  g_autoptr (GSubprocess) process = NULL;

  g_subprocess_launcher_set_cwd (launcher, folder->path);
  process = g_subprocess_launcher_spawnv (launcher, argv, NULL);
  return process && g_subprocess_wait_check (process, NULL, NULL);
}

static gboolean
skip_without_qemu_img (void)
{
  g_autofree char *path = g_find_program_in_path ("qemu-img");

  if (!path)
    g_test_skip ("no qemu-img");
  return path == NULL;
}

/* qemu-img makes SIZE bytes of NAME that are DISK's. */
static void
assert_same_as_qemu (Folder *folder, const char *name, H2kDisk *disk)
{
  const char *const argv[]
      = {"qemu-img", "convert", "-f", "vmdk", "-O", "raw", name, "out.raw", NULL};
  g_autofree char *path = in (folder, "out.raw"), *raw = NULL;
  g_autofree guint8 *got = g_malloc (disk->size);
  gsize size;

  g_assert_true (run (folder, argv));
  g_assert_true (g_file_get_contents (path, &raw, &size, NULL));
  g_assert_true (h2k_disk_pread (disk, 0, disk->size, got, NULL));
  g_assert_cmpmem (raw, size, got, disk->size);
}

static void
test_qemu_img_layouts (Folder *folder, gconstpointer data)
{
  if (skip_without_qemu_img ())
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (layouts); i++)
    {
      g_autofree guint8 *content = new_content (layouts[i].sectors);
      g_auto (Delta) delta = put_delta (folder, i, content);
      g_autoptr (H2kDisk) disk = open_ok (folder, "vm.vmdk");

      g_test_message ("layout %" G_GSIZE_FORMAT, i);
      g_assert_cmpuint (disk->size, ==, delta.sectors * SECTOR);
      assert_same_as_qemu (folder, "vm.vmdk", disk);
    }
}

static void
test_qemu_img_chains (Folder *folder, gconstpointer data)
{
  if (skip_without_qemu_img ())
    return;
  for (guint i = 0; i < 6; i++)
    {
      const guint levels = 1 + i % 3;
      Level level = make_chain (folder, levels, FALSE);

      for (guint k = 1; k <= levels; k++)
        {
          g_autofree char *name = g_strdup_printf ("vm-%06u.vmdk", k);
          g_autoptr (H2kDisk) disk = open_ok (folder, name);
          assert_same_as_qemu (folder, name, disk);
        }
      g_free (level.content);
    }
}

/* A delta's own parent may be damaged where the delta covers it. */
static void
test_covered_damage (Folder *folder, gconstpointer data)
{
  g_auto (Delta) below = delta_new (SESPARSE, 80, 8), above = delta_new (COWD, 80, 1);
  g_autofree char *first = delta_descriptor (SESPARSE, 80, "below", 1, 0, NULL);
  g_autofree char *second = delta_descriptor (COWD, 80, "above", 2, 1, "first.vmdk");
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GError) error = NULL;
  guint8 grain[4096], got[80 * SECTOR];

  memset (grain, 'b', sizeof grain);
  for (guint i = 0; i < 10; i++)
    delta_put_grain (&below, i, grain, GRAIN_DATA);
  memset (grain, 'a', sizeof grain);
  for (guint i = 8; i < 16; i++)
    delta_put_grain (&above, i, grain, GRAIN_DATA);
  put (folder, "below", below.file->data, below.file->len);
  put (folder, "above", above.file->data, above.file->len);
  put_text (folder, "first.vmdk", first);
  put_text (folder, "second.vmdk", second);
  disk = open_ok (folder, "second.vmdk");
  /* After opening, which reads the tables: the file becomes shorter than its second grain's end. */
  {
    g_autofree char *path = in (folder, "below");
    guint64 entry = h2k_le64 (below.file->data + delta_entry_at (&below, 1));
    guint64 number = (entry >> 48 & 0xfff) | entry << 12;
    g_assert_cmpint (truncate (path, (off_t)(delta_part (&below, PART_GRAINS) * SECTOR
                                             + number * 4096 + 100)),
                     ==, 0);
  }
  g_assert_true (h2k_disk_pread (disk, 0, 16 * SECTOR, got, &error));
  g_assert_no_error (error);
  g_assert_true (got[0] == 'b' && got[8 * SECTOR - 1] == 'b');
  g_assert_true (got[8 * SECTOR] == 'a' && got[16 * SECTOR - 1] == 'a');
  g_assert_false (h2k_disk_pread (disk, 0, 17 * SECTOR, got, &error));
  g_assert_nonnull (error);
}

static gpointer
read_everything (gpointer data)
{
  H2kDisk *disk = data;
  g_autofree guint8 *buffer = g_malloc (disk->size);
  GChecksum *sum = g_checksum_new (G_CHECKSUM_SHA256);
  char *result;

  for (guint64 at = 0, n; at < disk->size; at += n)
    {
      n = MIN (disk->size - at, 3000 + at % 70000);
      g_assert_true (h2k_disk_pread (disk, at, n, buffer + at, NULL));
    }
  g_checksum_update (sum, buffer, (gssize)disk->size);
  result = g_strdup (g_checksum_get_string (sum));
  g_checksum_free (sum);
  return result;
}

static void
test_many_threads (Folder *folder, gconstpointer data)
{
  Level level = make_chain (folder, 3, FALSE);
  g_autoptr (H2kDisk) disk = open_ok (folder, "vm-000003.vmdk");
  g_autofree char *expected
      = g_compute_checksum_for_data (G_CHECKSUM_SHA256, level.content, level.sectors * SECTOR);
  GThread *threads[4];

  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("reader", read_everything, disk);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    {
      g_autofree char *sum = g_thread_join (threads[i]);
      g_assert_cmpstr (sum, ==, expected);
    }
  g_free (level.content);
}

/* --- broken chains ---------------------------------------------------------------------------- */

static void
test_missing_files (Folder *folder, gconstpointer data)
{
  static const struct
  {
    const char *name, *words;
  } cases[] = {
      {"vm-flat.vmdk", "/vm.vmdk names the extent \"vm-flat.vmdk\", which is missing|fetch it"},
      {"vm.vmdk", "/vm-000001.vmdk names the parent \"/vmfs/volumes/5f/vm/vm.vmdk\", which is "
                  "missing|looked for as |/vm.vmdk; fetch it|and the extents that it lists"},
      {"vm-000001.vmdk", "/vm-000002.vmdk names the parent|vm/vm-000001.vmdk\"|missing"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      Level level = make_chain (folder, 2, TRUE);
      drop (folder, cases[i].name);
      assert_refused (folder, "vm-000002.vmdk", H2K_ERROR_SOURCE, cases[i].words);
      assert_refused (folder, "vm-000002.vmdk", H2K_ERROR_SOURCE, folder->path);
      g_free (level.content);
    }
}

static void
test_hints (Folder *folder, gconstpointer data)
{
  static const struct
  {
    const char *hint;
    int code; /* -1: found */
  } cases[] = {
      {"vm.vmdk", -1},
      {"./vm.vmdk", -1},
      {"/vmfs/volumes/52f3-aa/some folder/vm.vmdk", -1},
      {"C:\\\\Virtual Machines\\\\vm.vmdk", -1},
      {"D:/vms/vm.vmdk", -1},
      {"\\\\\\\\server\\\\share\\\\vm.vmdk", -1},
      {"\\\\\\\\server\\\\share/vm.vmdk", -1},
      {"../vm.vmdk", H2K_ERROR_SOURCE},
      {"C:\\\\vms\\\\other.vmdk", H2K_ERROR_SOURCE},
      {"C:\\\\vms\\\\", H2K_ERROR_UNSUPPORTED},
      {"/", H2K_ERROR_UNSUPPORTED},
      {"", H2K_ERROR_FORMAT},
  };
  g_auto (Delta) delta = delta_new (COWD, 8, 1);

  put (folder, "d", delta.file->data, delta.file->len);
  put_text (folder, "vm.vmdk", "version=1\nCID=a\nRW 8 ZERO\n");
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_auto (GStrv) parts = g_strsplit (cases[i].hint, "\\\\", -1);
      g_autofree char *hint = g_strjoinv ("\\", parts);
      g_autofree char *text = delta_descriptor (COWD, 8, "d", 1, 0xa, hint);

      put_text (folder, "child.vmdk", text);
      g_test_message ("%s", hint);
      if (cases[i].code >= 0)
        assert_refused (folder, "child.vmdk", cases[i].code, "child.vmdk");
      else
        {
          g_autoptr (H2kDisk) found = open_ok (folder, "child.vmdk");
          g_assert_nonnull (found->backing);
        }
    }
}

static void
test_changed_parents (Folder *folder, gconstpointer data)
{
  Level level = make_chain (folder, 3, FALSE);
  g_autofree char *loop = NULL;

  put_text (folder, "vm.vmdk",
            "version=1\nCID=777\nparentCID=ffffffff\nRW 4000 VMFS \"vm-flat.vmdk\"\n");
  assert_refused (folder, "vm-000003.vmdk", H2K_ERROR_FORMAT,
                  "vm-000001.vmdk|CID 00000100|vm.vmdk has CID 00000777|changed after");
  loop = delta_descriptor (COWD, 4000, "x", 0x100, 0x103, "vm-000003.vmdk");
  put_text (folder, "vm.vmdk", loop);
  put (folder, "x", "", 0);
  assert_refused (folder, "vm-000003.vmdk", H2K_ERROR_FORMAT, "x: the VMDK image is truncated");
  {
    g_auto (Delta) delta = delta_new (COWD, 4000, 1);
    put (folder, "x", delta.file->data, delta.file->len);
  }
  assert_refused (folder, "vm-000003.vmdk", H2K_ERROR_FORMAT, "comes back");
  g_free (level.content);
}

/* --- extents given without their descriptor --------------------------------------------------- */

static void
test_without_descriptor (Folder *folder, gconstpointer data)
{
  static const struct
  {
    DeltaKind kind;
    const char *name, *words;
    const char *descriptor; /* made before */
  } cases[] = {
      {COWD, "a-000001-delta.vmdk", "COWD|the small text |/a-000001.vmdk, which is missing", NULL},
      {COWD, "a-000001-delta.vmdk", "COWD|name its descriptor instead, |/a-000001.vmdk",
       "a-000001.vmdk"},
      {SESPARSE, "b-000001-sesparse.vmdk", "seSparse|/b-000001.vmdk, which is missing", NULL},
      {SESPARSE, "b-000001-SESPARSE.VMDK", "seSparse|/b-000001.VMDK", "b-000001.VMDK"},
      {COWD, "old.vmdk", "COWD|name the descriptor that lists it", NULL},
      {SESPARSE, "renamed", "seSparse|name the descriptor that lists it", NULL},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_auto (Delta) delta = delta_new (cases[i].kind, 8, 1);
      put (folder, cases[i].name, delta.file->data, delta.file->len);
      if (cases[i].descriptor)
        put_text (folder, cases[i].descriptor, "version=1\nRW 8 ZERO\n");
      assert_refused (folder, cases[i].name, H2K_ERROR_FORMAT, cases[i].words);
    }
}

static void
test_flat_without_descriptor (Folder *folder, gconstpointer data)
{
  Level level = make_chain (folder, 0, FALSE);
  g_autoptr (H2kDisk) with = open_ok (folder, "vm.vmdk"), without = NULL;

  drop (folder, "vm.vmdk");
  without = open_ok (folder, "vm-flat.vmdk");
  g_assert_cmpstr (without->format, ==, "raw");
  assert_content (with, level.content, level.sectors * SECTOR);
  assert_content (without, level.content, level.sectors * SECTOR);
  g_free (level.content);
}

/* Old servers call a COWD extent SPARSE; transfers change line ends. */
static void
test_spellings (Folder *folder, gconstpointer data)
{
  static const char *const ends[] = {"\n", "\r\n", "\r"}, *const types[] = {"SPARSE", "vmfssparse"};
  g_auto (Delta) delta = delta_new (COWD, 4000, 1);
  g_autofree guint8 *content = new_content (4000);

  delta_scribble (&delta, content, 30);
  put (folder, "vm 1-delta.vmdk", delta.file->data, delta.file->len);
  for (gsize i = 0; i < G_N_ELEMENTS (ends) * G_N_ELEMENTS (types); i++)
    {
      const char *end = ends[i / 2];
      g_autofree char *text = g_strdup_printf ("# Disk DescriptorFile%sversion = 1%sCID\t=\tA1%s"
                                               "parentCID=ffffffff%screateType=\"vmfsSparse\"%s"
                                               "\tRW\t4000\t%s\t\"vm 1-delta.vmdk\"\t%s",
                                               end, end, end, end, end, types[i % 2], end);
      g_autoptr (H2kDisk) disk = NULL;

      put_text (folder, "vm.vmdk", text);
      disk = open_ok (folder, "vm.vmdk");
      assert_content (disk, content, 4000 * SECTOR);
      g_assert_cmpuint (h2k_vmdk_descriptor (disk)->cid, ==, 0xa1);
    }
}

/* --- damage ----------------------------------------------------------------------------------- */

static void
test_broken_headers (Folder *folder, gconstpointer data)
{
  static const struct
  {
    DeltaKind kind;
    guint at, bytes;
    guint64 value;
    int code;
    const char *words;
  } cases[] = {
      {COWD, 4, 4, 2, H2K_ERROR_UNSUPPORTED, "version 2|consolidate"},
      {COWD, 8, 4, 7, H2K_ERROR_UNSUPPORTED, "flags (0x7)"},
      {COWD, 12, 4, 0, H2K_ERROR_FORMAT, "no sectors"},
      {COWD, 12, 4, 0xffffffff, H2K_ERROR_FORMAT, "too few"},
      {COWD, 12, 4, 4095, H2K_ERROR_FORMAT, "do not belong together"},
      {COWD, 16, 4, 0, H2K_ERROR_FORMAT, "grain size"},
      {COWD, 16, 4, 0xffffffff, H2K_ERROR_FORMAT, "grain size"},
      {COWD, 20, 4, 0, H2K_ERROR_FORMAT, "inside the header"},
      {COWD, 20, 4, 0xffffffff, H2K_ERROR_FORMAT, "not inside the file"},
      {COWD, 24, 4, 0, H2K_ERROR_FORMAT, "too few"},
      {COWD, 28, 4, 1 << 20, H2K_ERROR_FORMAT, "in use"},
      {COWD, 2048, 4, 3, H2K_ERROR_FORMAT, "directory's entry 0"},
      {COWD, 2048, 4, 0xffffffff, H2K_ERROR_FORMAT, "directory's entry 0"},
      {SESPARSE, 8, 8, G_GUINT64_CONSTANT (0x200000002), H2K_ERROR_UNSUPPORTED, "version 2.2"},
      {SESPARSE, 16, 8, 0, H2K_ERROR_FORMAT, "capacity"},
      {SESPARSE, 16, 8, 1 << 30, H2K_ERROR_FORMAT, "capacity"},
      {SESPARSE, 16, 8, G_MAXUINT64, H2K_ERROR_FORMAT, "capacity"},
      {SESPARSE, 24, 8, 16, H2K_ERROR_UNSUPPORTED, "grains of 16"},
      {SESPARSE, 32, 8, 128, H2K_ERROR_UNSUPPORTED, "tables of 128"},
      {SESPARSE, 40, 8, 1, H2K_ERROR_UNSUPPORTED, "flags (0x1)"},
      {SESPARSE, 48, 1, 1, H2K_ERROR_UNSUPPORTED, "fields"},
      {SESPARSE, 511, 1, 1, H2K_ERROR_UNSUPPORTED, "fields"},
      {SESPARSE, 0x50, 8, 0, H2K_ERROR_FORMAT, "volatile header"},
      {SESPARSE, 0x50, 8, 1 << 30, H2K_ERROR_FORMAT, "volatile header"},
      {SESPARSE, 0x80, 8, G_MAXUINT64, H2K_ERROR_FORMAT, "grain directory"},
      {SESPARSE, 0x88, 8, G_MAXUINT64, H2K_ERROR_FORMAT, "grain directory"},
      {SESPARSE, 0x88, 8, 0, H2K_ERROR_FORMAT, "too small"},
      {SESPARSE, 0x90, 8, G_MAXUINT64 / 512, H2K_ERROR_FORMAT, "grain tables"},
      {SESPARSE, 0x98, 8, 0, H2K_ERROR_FORMAT, "directory's entry 0"},
      {SESPARSE, 0xc0, 8, G_MAXUINT64 / 512, H2K_ERROR_FORMAT, "area of grains"},
      {SESPARSE, 512, 8, 0xcafebabe, H2K_ERROR_FORMAT, "volatile"},
      {SESPARSE, 512 + 24, 8, 1, H2K_ERROR_UNSUPPORTED, "journal|shut it down"},
      {SESPARSE, 0, 1, 'x', H2K_ERROR_FORMAT, "not a VMDK"},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_auto (Delta) delta = delta_new (cases[i].kind, 5000, 1);
      g_autofree guint8 *content = new_content (5000);
      g_autofree char *text = delta_descriptor (cases[i].kind, 5000, "d", 1, 0, NULL);

      delta_scribble (&delta, content, 10);
      delta_put_le (delta.file->data + cases[i].at, cases[i].value, cases[i].bytes);
      put (folder, "d", delta.file->data, delta.file->len);
      put_text (folder, "vm.vmdk", text);
      g_test_message ("%" G_GSIZE_FORMAT ": byte %u", i, cases[i].at);
      assert_refused (folder, "vm.vmdk", cases[i].code, cases[i].words);
    }
}

/* Entries that cannot be, of the directory and of tables. */
static void
test_broken_entries (Folder *folder, gconstpointer data)
{
  static const struct
  {
    DeltaKind kind;
    gboolean directory;
    guint64 value;
  } cases[] = {
      {COWD, TRUE, 1},
      {COWD, TRUE, 0xfffffff0},
      {COWD, FALSE, 2},
      {COWD, FALSE, 0xfffffff0},
      {SESPARSE, TRUE, 1},
      {SESPARSE, TRUE, G_GUINT64_CONSTANT (0x1000000000000001) + 63},
      {SESPARSE, TRUE, G_GUINT64_CONSTANT (0x1000000100000000)},
      {SESPARSE, TRUE, G_GUINT64_CONSTANT (0x2000000000000000)},
      {SESPARSE, FALSE, 1},
      {SESPARSE, FALSE, G_GUINT64_CONSTANT (0x3fffffffffffffff)},
      {SESPARSE, FALSE, G_GUINT64_CONSTANT (0x3000000000000100)},
      {SESPARSE, FALSE, G_GUINT64_CONSTANT (0x4000000000000000)},
      {SESPARSE, FALSE, G_GUINT64_CONSTANT (0xf000000000000000)},
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_auto (Delta) delta = delta_new (cases[i].kind, 5000, 1);
      g_autofree guint8 *content = new_content (5000);
      g_autofree char *text = delta_descriptor (cases[i].kind, 5000, "d", 1, 0, NULL);
      guint64 at;

      delta_scribble (&delta, content, 10);
      at = cases[i].directory ? delta_directory_at (&delta, 0) : delta_entry_at (&delta, 40);
      delta_put_le (delta.file->data + at, cases[i].value, cases[i].kind == COWD ? 4 : 8);
      put (folder, "d", delta.file->data, delta.file->len);
      put_text (folder, "vm.vmdk", text);
      g_test_message ("%" G_GSIZE_FORMAT, i);
      assert_refused (folder, "vm.vmdk", H2K_ERROR_FORMAT,
                      cases[i].directory ? "directory's entry 0" : "entry of grain 40");
    }
}

/* Cut off anywhere, an extent is refused, or reads as what it was. */
static void
test_truncation (Folder *folder, gconstpointer data)
{
  for (guint kind = COWD; kind <= SESPARSE; kind++)
    {
      g_auto (Delta) delta = delta_new ((DeltaKind)kind, 9000, 1);
      g_autofree guint8 *content = new_content (9000);
      g_autofree char *text = delta_descriptor ((DeltaKind)kind, 9000, "d", 1, 0, NULL);
      g_autofree char *path = in (folder, "vm.vmdk");
      guint opened = 0;

      delta_scribble (&delta, content, 40);
      put_text (folder, "vm.vmdk", text);
      for (guint i = 0; i < 80; i++)
        {
          gsize size = i < 20 ? delta.file->len - i * 100
                              : (gsize)g_test_rand_int_range (0, (gint32)delta.file->len);
          g_autoptr (GError) error = NULL;
          g_autoptr (H2kDisk) disk = NULL;

          put (folder, "d", delta.file->data, size);
          disk = h2k_disk_open (path, NULL, &error);
          if (disk)
            assert_content (disk, content, 9000 * SECTOR);
          else
            g_assert_error (error, H2K_ERROR, H2K_ERROR_FORMAT);
          opened += disk != NULL;
        }
      g_assert_cmpuint (opened, >=, 1);
      g_assert_cmpuint (opened, <, 60);
    }
}

static void
test_damage_anywhere (Folder *folder, gconstpointer data)
{
  for (guint i = 0; i < 150; i++)
    {
      const DeltaKind kind = i % 2 ? COWD : SESPARSE;
      g_auto (Delta) delta = delta_new (kind, 2000, 1);
      g_autofree guint8 *content = new_content (2000), *got = g_malloc (2000 * SECTOR);
      g_autofree char *text = delta_descriptor (kind, 2000, "d", 1, 0, NULL);
      g_autofree char *path = in (folder, "vm.vmdk");
      g_autoptr (H2kDisk) disk = NULL;

      delta_scribble (&delta, content, 10);
      for (guint k = 0; k < 3; k++)
        {
          gint32 front = kind == COWD ? 2048 + 16384 : (gint32)(delta_part (&delta, 7) * SECTOR);
          delta.file->data[g_test_rand_int_range (0, k ? front : 2048)] ^= 1 << k;
        }
      put (folder, "d", delta.file->data, delta.file->len);
      put_text (folder, "vm.vmdk", text);
      disk = h2k_disk_open (path, NULL, NULL);
      if (disk)
        (void)h2k_disk_pread (disk, 0, disk->size, got, NULL);
    }
}

#define ADD(name, function)                                                                        \
  g_test_add ("/vmdk-delta/" name, Folder, NULL, folder_set_up, function, folder_tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("extents/layouts read back", test_layouts);
  ADD ("extents/say data, zero, unallocated", test_extent_kinds);
  ADD ("extents/of 62 TiB", test_largest);
  ADD ("extents/whatever they are called", test_spellings);
  ADD ("chains/read back", test_chains);
  ADD ("chains/a damaged parent does not matter where it is covered", test_covered_damage);
  ADD ("chains/many threads read at once", test_many_threads);
  ADD ("chains/a missing file is named", test_missing_files);
  ADD ("chains/hints lead to a file beside the child", test_hints);
  ADD ("chains/changed parents and loops", test_changed_parents);
  ADD ("alone/deltas lead to their descriptor", test_without_descriptor);
  ADD ("alone/a flat extent is a raw disk", test_flat_without_descriptor);
  ADD ("damage/headers", test_broken_headers);
  ADD ("damage/entries", test_broken_entries);
  ADD ("damage/truncation", test_truncation);
  ADD ("damage/any byte", test_damage_anywhere);
  ADD ("qemu-img/layouts", test_qemu_img_layouts);
  ADD ("qemu-img/chains", test_qemu_img_chains);
  return g_test_run ();
}
