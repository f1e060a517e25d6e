/* test-volume.c - partition tables made by sfdisk and by hand, as sfdisk and blkid see them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/volume.h"

#include <glib/gstdio.h>
#include <json-glib/json-glib.h>

#define MIB ((guint64)1 << 20)

/* --- helpers ---------------------------------------------------------------------------------- */

static char *
make_image (const char *folder, const char *script, guint64 size)
{
  g_autofree char *path = g_build_filename (folder, "disk.img", NULL);
  g_autofree char *text = NULL;
  g_autoptr (GSubprocess) sfdisk = NULL;
  g_autoptr (GError) error = NULL;
  FILE *file = fopen (path, "w");

  g_assert_nonnull (file);
  g_assert_cmpint (ftruncate (fileno (file), (off_t)size), ==, 0);
  fclose (file);
  if (script)
    {
      sfdisk = g_subprocess_new (G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_SILENCE
                                     | G_SUBPROCESS_FLAGS_STDERR_MERGE,
                                 &error, "sfdisk", "--no-reread", "--no-tell-kernel", "-q", path,
                                 NULL);
      g_assert_no_error (error);
      g_subprocess_communicate_utf8 (sfdisk, script, NULL, &text, NULL, &error);
      g_assert_no_error (error);
      g_assert_true (g_subprocess_get_successful (sfdisk));
    }
  return g_steal_pointer (&path);
}

/* The first line of what a program prints, without the line end. */
static char *
run (const char *const *argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GSubprocess) process
      = g_subprocess_newv (argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error);
  char *out = NULL;

  g_assert_no_error (error);
  g_subprocess_communicate_utf8 (process, NULL, NULL, &out, NULL, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_get_successful (process));
  return out;
}

static H2kTable *
read_table (const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = h2k_disk_open (path, "raw", &error);
  H2kTable *table;

  g_assert_no_error (error);
  table = h2k_table_read (disk, &error);
  g_assert_no_error (error);
  return table;
}

static H2kTable *
read_memory (H2kDisk *disk)
{
  g_autoptr (GError) error = NULL;
  H2kTable *table = h2k_table_read (disk, &error);

  g_assert_no_error (error);
  return table;
}

static const H2kVolume *
find_volume (const H2kTable *table, guint number)
{
  for (guint i = 0; i < table->volumes->len; i++)
    if (((H2kVolume *)table->volumes->pdata[i])->number == number)
      return table->volumes->pdata[i];
  return NULL;
}

static gboolean
warned (const H2kTable *table, const char *words)
{
  for (guint i = 0; i < table->warnings->len; i++)
    if (strstr (table->warnings->pdata[i], words))
      return TRUE;
  return FALSE;
}

static guint
number_in (const char *node, const char *path)
{
  g_assert_true (g_str_has_prefix (node, path));
  return (guint)g_ascii_strtoull (node + strlen (path), NULL, 10);
}

/* Our table says what sfdisk --json says. */
static void
assert_like_sfdisk (const H2kTable *table, const char *path)
{
  const char *argv[] = {"sfdisk", "--json", path, NULL};
  g_autofree char *text = run (argv);
  g_autoptr (JsonNode) root = json_from_string (text, NULL);
  JsonObject *theirs
      = json_object_get_object_member (json_node_get_object (root), "partitiontable");
  JsonArray *partitions = json_object_get_array_member (theirs, "partitions");
  gboolean gpt = g_str_equal (json_object_get_string_member (theirs, "label"), "gpt");
  const char *id = json_object_get_string_member (theirs, "id");
  guint64 unit = (guint64)json_object_get_int_member (theirs, "sectorsize");

  g_assert_cmpint (table->type, ==, gpt ? H2K_TABLE_GPT : H2K_TABLE_MBR);
  g_assert_cmpint (g_ascii_strcasecmp (table->disk_id, gpt ? id : id + 2), ==, 0);
  g_assert_cmpuint (table->volumes->len, ==, json_array_get_length (partitions));
  for (guint i = 0; i < table->volumes->len; i++)
    {
      const H2kVolume *volume = table->volumes->pdata[i];
      JsonObject *partition = json_array_get_object_element (partitions, i);
      const char *type = json_object_get_string_member (partition, "type");
      const char *node = json_object_get_string_member (partition, "node");
      guint64 start = (guint64)json_object_get_int_member (partition, "start") * unit;
      guint64 size = (guint64)json_object_get_int_member (partition, "size") * unit;

      g_assert_cmpuint (volume->number, ==, number_in (node, path));
      g_assert_cmpuint (volume->offset, ==, start);
      g_assert_cmpuint (volume->length, ==, size);
      g_assert_cmpuint (volume->disk->size, ==, size);
      if (gpt)
        {
          const char *uuid = json_object_get_string_member (partition, "uuid");
          g_assert_cmpint (g_ascii_strcasecmp (volume->type_guid, type), ==, 0);
          g_assert_cmpint (g_ascii_strcasecmp (volume->part_uuid, uuid), ==, 0);
          g_assert_cmpstr (volume->part_label, ==,
                           json_object_get_string_member_with_default (partition, "name", NULL));
        }
      else
        {
          g_assert_cmpuint (volume->mbr_type, ==, g_ascii_strtoull (type, NULL, 16));
          g_assert_cmpint (volume->active, ==,
                           json_object_get_boolean_member_with_default (partition, "bootable",
                                                                        FALSE));
        }
    }
}

static void
remove_image (const char *folder, const char *path)
{
  g_unlink (path);
  g_rmdir (folder);
}

/* --- sfdisk's tables -------------------------------------------------------------------------- */

typedef struct
{
  const char *name, *script;
} Layout;

static const Layout layouts[] = {
    {"mbr-primary", "label: dos\nlabel-id: 0x1234abcd\n"
                    "start=2048, size=20480, type=83, bootable\nsize=8192, type=82\n"},
    {"mbr-logical", "label: dos\nlabel-id: 0xdeadbeef\n"
                    "1 : size=20480, type=83\n2 : size=60000, type=5\n5 : size=8192, type=8e\n"
                    "6 : size=4096, type=82\n7 : size=4096, type=83\n8 : size=4096, type=fd\n"},
    {"mbr-logical-lba", "label: dos\n2 : size=60000, type=f\n5 : size=4096, type=7\n"
                        "6 : size=4096, type=b\n"},
    {"mbr-linux-extended", "label: dos\nlabel-id: 0x1\n1 : size=2048, type=83\n"
                           "4 : size=60000, type=85\n5 : size=4096, type=83\n"},
    {"gpt", "label: gpt\n"
            "size=2048, type=21686148-6449-6E6F-744E-656564454649, name=\"bios boot\"\n"
            "size=20480, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=\"EFI\"\n"
            "size=20480, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=\"W\xc3\xbcrzel\", "
            "attrs=\"LegacyBIOSBootable\"\n"},
    {"gpt-holes", "label: gpt\n2 : size=2048\n7 : size=4096\n128 : size=2048\n"},
};

static void
test_layout (gconstpointer data)
{
  const Layout *layout = data;
  g_autofree char *folder = g_dir_make_tmp ("h2k-volume-XXXXXX", NULL);
  g_autofree char *path = make_image (folder, layout->script, 64 * MIB);
  g_autoptr (H2kTable) table = read_table (path);

  assert_like_sfdisk (table, path);
  g_assert_cmpuint (table->warnings->len, ==, 0);
  g_assert_false (table->from_backup);
  remove_image (folder, path);
}

static void
test_names (void)
{
  g_autofree char *folder = g_dir_make_tmp ("h2k-volume-XXXXXX", NULL);
  g_autofree char *mbr = make_image (folder, layouts[1].script, 64 * MIB);
  g_autoptr (H2kTable) table = read_table (mbr);

  g_assert_cmpstr (table->disk_id, ==, "deadbeef");
  g_assert_cmpstr (find_volume (table, 1)->part_uuid, ==, "deadbeef-01");
  g_assert_cmpstr (find_volume (table, 7)->part_uuid, ==, "deadbeef-07");
  g_assert_cmpstr (h2k_volume_role (find_volume (table, 1)), ==, "linux");
  g_assert_cmpstr (h2k_volume_role (find_volume (table, 2)), ==, "extended");
  g_assert_cmpstr (h2k_volume_role (find_volume (table, 5)), ==, "lvm");
  g_assert_cmpstr (h2k_volume_role (find_volume (table, 6)), ==, "swap");
  g_assert_cmpstr (h2k_volume_role (find_volume (table, 8)), ==, "raid");
  g_clear_pointer (&table, h2k_table_free);

  g_free (make_image (folder, layouts[4].script, 64 * MIB));
  table = read_table (mbr);
  g_assert_cmpstr (h2k_volume_role (find_volume (table, 1)), ==, "bios-boot");
  g_assert_cmpstr (h2k_volume_role (find_volume (table, 2)), ==, "esp");
  g_assert_cmpstr (h2k_volume_role (find_volume (table, 3)), ==, "linux");
  g_assert_cmpstr (find_volume (table, 3)->part_label, ==, "W\xc3\xbcrzel");
  g_assert_true (find_volume (table, 3)->active);
  g_assert_false (find_volume (table, 2)->active);
  remove_image (folder, mbr);
}

/* --- tables made by hand ---------------------------------------------------------------------- */

static void
put (H2kDisk *disk, guint64 offset, const void *data, gsize length)
{
  g_assert_true (h2k_disk_pwrite (disk, offset, length, data, NULL));
}

static void
put_le (H2kDisk *disk, guint64 offset, guint64 value, gsize length)
{
  value = GUINT64_TO_LE (value);
  put (disk, offset, &value, length);
}

static void
put_entry (H2kDisk *disk, guint64 sector, guint slot, guint8 type, guint32 start, guint32 count)
{
  guint64 at = sector * disk->sector_size + 446 + 16 * slot;

  put_le (disk, at + 4, type, 1);
  put_le (disk, at + 8, start, 4);
  put_le (disk, at + 12, count, 4);
  put (disk, sector * disk->sector_size + 510, "\x55\xaa", 2);
}

static guint32
crc_of (H2kDisk *disk, guint64 offset, gsize length)
{
  g_autofree guint8 *data = g_malloc (length);

  g_assert_true (h2k_disk_pread (disk, offset, length, data, NULL));
  return h2k_crc32 (0, data, length);
}

/* A GPT header at LBA of DISK for entries that are there already. */
static void
put_gpt_header (H2kDisk *disk, guint64 unit, guint64 lba, guint64 alternate, guint64 entries,
                guint count, guint size)
{
  guint64 at = lba * unit, last = disk->size / unit - 1;

  g_assert_true (h2k_disk_zero (disk, at, unit, NULL));
  put (disk, at, "EFI PART\0\0\1\0", 12);
  put_le (disk, at + 12, 92, 4);
  put_le (disk, at + 24, lba, 8);
  put_le (disk, at + 32, alternate, 8);
  put_le (disk, at + 40, 40, 8);
  put_le (disk, at + 48, last - 40, 8);
  put (disk, at + 56, "0123456789abcdef", 16);
  put_le (disk, at + 72, entries, 8);
  put_le (disk, at + 80, count, 4);
  put_le (disk, at + 84, size, 4);
  put_le (disk, at + 88, crc_of (disk, entries * unit, (gsize)count * size), 4);
  put_le (disk, at + 16, crc_of (disk, at, 92), 4);
}

static void
put_gpt_entry (H2kDisk *disk, guint64 at, guint64 first, guint64 last)
{
  put (disk, at, "LinuxLinuxLinux!", 16);
  put_le (disk, at + 16, first, 8);
  put_le (disk, at + 32, first, 8);
  put_le (disk, at + 40, last, 8);
}

/* A disk with both copies: primary at 1, entries at 2; backup at the end, entries before it. */
static H2kDisk *
gpt_disk (guint64 unit, guint entry_size)
{
  H2kDisk *disk = h2k_memory_disk_new (8 * MIB);
  guint64 last = disk->size / unit - 1, tail = last - 16 * entry_size / unit - 1;

  put_entry (disk, 0, 0, 0xee, 1, (guint32)last);
  for (guint i = 0; i < 2; i++)
    {
      guint64 at = (i ? tail : 2) * unit;
      put_gpt_entry (disk, at, 100, 199);
      put_gpt_entry (disk, at + 3 * (guint64)entry_size, 200, 200);
    }
  put_gpt_header (disk, unit, 1, last, 2, 16, entry_size);
  put_gpt_header (disk, unit, last, 1, tail, 16, entry_size);
  return disk;
}

static void
assert_gpt (const H2kTable *table, guint64 unit)
{
  g_assert_cmpint (table->type, ==, H2K_TABLE_GPT);
  g_assert_cmpuint (table->volumes->len, ==, 2);
  g_assert_cmpuint (find_volume (table, 1)->offset, ==, 100 * unit);
  g_assert_cmpuint (find_volume (table, 1)->length, ==, 100 * unit);
  g_assert_cmpuint (find_volume (table, 4)->offset, ==, 200 * unit);
  g_assert_cmpuint (find_volume (table, 4)->length, ==, unit);
  g_assert_cmpuint (find_volume (table, 4)->disk->sector_size, ==, unit);
}

static void
test_gpt_geometry (void)
{
  static const guint32 units[] = {512, 4096};
  static const guint32 sizes[] = {128, 256, 512, 4096};

  for (guint i = 0; i < G_N_ELEMENTS (units); i++)
    for (guint j = 0; j < G_N_ELEMENTS (sizes); j++)
      {
        g_autoptr (H2kDisk) disk = gpt_disk (units[i], sizes[j]);
        g_autoptr (H2kTable) table = read_memory (disk);
        assert_gpt (table, units[i]);
        g_assert_false (table->from_backup);
        g_assert_cmpuint (table->warnings->len, ==, 0);
      }
}

/* Each damage to the primary copy leads to the backup; to both, to a warning. */
static void
test_gpt_backup (void)
{
  static const struct
  {
    guint64 offset; /* in the header's sector, or 1024: in the entries */
    const char *why;
  } damages[] = {
      {0, "no signature"},    {12, "impossible size"},
      {16, "wrong checksum"}, {24, "wrong checksum"},
      {84, "wrong checksum"}, {1024 - 512, "entries with a wrong checksum"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (damages); i++)
    for (guint unit = 512; unit <= 4096; unit *= 8)
      {
        g_autoptr (H2kDisk) disk = gpt_disk (unit, 128);
        g_autoptr (H2kTable) table = NULL, none = NULL;
        guint64 at = damages[i].offset < 512 ? unit + damages[i].offset : 2 * unit + 40;
        guint64 last = disk->size / unit - 1;

        put (disk, at, "\xff\xff", 2);
        table = read_memory (disk);
        assert_gpt (table, unit);
        g_assert_true (table->from_backup);
        g_assert_true (warned (table, damages[i].why));

        put (disk, last * unit + 20, "x", 1);
        none = read_memory (disk);
        g_assert_cmpint (none->type, ==, H2K_TABLE_GPT);
        g_assert_cmpuint (none->volumes->len, ==, 0);
        g_assert_true (warned (none, "neither of its copies is good"));
      }
}

/* The disk was enlarged: the backup is where the primary header says, not at the end. */
static void
test_gpt_alternate (void)
{
  g_autoptr (H2kDisk) disk = gpt_disk (512, 128);
  g_autoptr (H2kTable) table = NULL;

  put_gpt_entry (disk, 5000 * 512, 100, 199);
  put_gpt_entry (disk, 5000 * 512 + 3 * 128, 200, 200);
  put_gpt_header (disk, 512, 6000, 1, 5000, 16, 128);
  put_gpt_header (disk, 512, 1, 6000, 2, 16, 128);
  put (disk, disk->size - 512, "????????", 8);
  put (disk, 2 * 512 + 60, "broken", 6);
  table = read_memory (disk);
  assert_gpt (table, 512);
  g_assert_true (table->from_backup);
}

static void
test_gpt_impossible (void)
{
  static const struct
  {
    guint64 entries;
    guint32 count, size;
    const char *why;
  } headers[] = {
      {2, 16, 129, "impossible size"},
      {2, 16, 64, "impossible size"},
      {2, 16, 8192, "impossible size"},
      {2, 0, 128, "impossible number"},
      {2, 0xffffffff, 128, "impossible number"},
      {0, 16, 128, "outside of the disk"},
      {16383, 16, 128, "outside of the disk"},
      {G_MAXUINT64, 16, 128, "outside of the disk"},
      {G_MAXUINT64 / 512 + 1, 16, 128, "outside of the disk"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (headers); i++)
    {
      g_autoptr (H2kDisk) disk = gpt_disk (512, 128);
      g_autoptr (H2kTable) table = NULL;

      put_gpt_header (disk, 512, 1, 16383, 2, 16, 128);
      put_le (disk, 512 + 72, headers[i].entries, 8);
      put_le (disk, 512 + 80, headers[i].count, 4);
      put_le (disk, 512 + 84, headers[i].size, 4);
      put_le (disk, 512 + 16, 0, 4);
      put_le (disk, 512 + 16, crc_of (disk, 512, 92), 4);
      table = read_memory (disk);
      assert_gpt (table, 512);
      g_assert_true (table->from_backup);
      g_assert_true (warned (table, headers[i].why));
    }
}

static void
test_gpt_bad_entries (void)
{
  g_autoptr (H2kDisk) disk = gpt_disk (512, 128);
  g_autoptr (H2kTable) table = NULL;
  const H2kVolume *volume;

  put_gpt_entry (disk, 1024 + 1 * 128, 150, 160);       /* overlaps partition 1 */
  put_gpt_entry (disk, 1024 + 2 * 128, 300, 299);       /* ends before it starts */
  put_gpt_entry (disk, 1024 + 4 * 128, 400, 16384);     /* ends behind the disk */
  put_gpt_entry (disk, 1024 + 5 * 128, 0, G_MAXUINT64); /* everything, and more */
  put_gpt_entry (disk, 1024 + 6 * 128, G_MAXUINT64, G_MAXUINT64);
  put_gpt_entry (disk, 1024 + 7 * 128, 500, 500);
  put (disk, 1024 + 7 * 128 + 56, "\x00\xd8x\0\x3d\xd8", 6); /* half surrogates */
  put (disk, 1024 + 7 * 128 + 62,
       "\x27\xdc"
       "A\0",
       4);
  put_gpt_header (disk, 512, 1, 16383, 2, 16, 128);
  table = read_memory (disk);
  g_assert_cmpuint (table->volumes->len, ==, 3);
  g_assert_cmpuint (table->warnings->len, ==, 5);
  g_assert_true (warned (table, "partition 2 is passed over: it overlaps partition 1"));
  g_assert_true (warned (table, "partition 5"));
  volume = find_volume (table, 8);
  g_assert_cmpstr (volume->part_label, ==,
                   "\xef\xbf\xbdx\xf0\x9f\x90\xa7"
                   "A");
}

static void
test_hybrid_and_stale_gpt (void)
{
  g_autoptr (H2kDisk) disk = gpt_disk (512, 128);
  g_autoptr (H2kTable) hybrid = NULL, stale = NULL, bare = NULL;

  put_entry (disk, 0, 1, 0x83, 100, 100);
  hybrid = read_memory (disk);
  assert_gpt (hybrid, 512);

  /* Repartitioned as MBR by something that left the GPT behind. */
  put_entry (disk, 0, 0, 0x07, 300, 100);
  stale = read_memory (disk);
  g_assert_cmpint (stale->type, ==, H2K_TABLE_MBR);
  g_assert_cmpuint (stale->volumes->len, ==, 2);

  g_assert_true (h2k_disk_zero (disk, 0, 512, NULL));
  bare = read_memory (disk);
  g_assert_cmpint (bare->type, ==, H2K_TABLE_NONE);
  g_assert_true (warned (bare, "without its protective MBR"));
}

/* Extended boot records: 1000..9999 is the extended partition of each. */
static H2kDisk *
extended_disk (void)
{
  H2kDisk *disk = h2k_memory_disk_new (8 * MIB);

  put_entry (disk, 0, 0, 0x83, 100, 800);
  put_entry (disk, 0, 1, 0x05, 1000, 9000);
  put_entry (disk, 1000, 0, 0x83, 63, 500);
  put_entry (disk, 1000, 1, 0x05, 2000, 700);
  put_entry (disk, 3000, 0, 0x82, 63, 600);
  return disk;
}

static void
test_chain (void)
{
  g_autoptr (H2kDisk) disk = extended_disk ();
  g_autoptr (H2kTable) table = read_memory (disk);

  g_assert_cmpuint (table->volumes->len, ==, 4);
  g_assert_cmpuint (find_volume (table, 5)->offset, ==, 1063 * 512);
  g_assert_cmpuint (find_volume (table, 6)->offset, ==, 3063 * 512);
  g_assert_null (find_volume (table, 6)->part_uuid); /* no disk signature */
  g_assert_null (table->disk_id);
  g_assert_cmpuint (table->warnings->len, ==, 0);
}

static void
test_chain_trouble (void)
{
  static const struct
  {
    guint32 next; /* relative to the extended partition */
    const char *warning;
  } links[] = {
      {0, "comes back"},          {2000, "comes back"},     {9000, "leaves its extended partition"},
      {0xffffffff, "leaves its"}, {5000, "no boot record"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (links); i++)
    {
      g_autoptr (H2kDisk) disk = extended_disk ();
      g_autoptr (H2kTable) table = NULL;

      put_entry (disk, 3000, 1, 0x05, links[i].next, 100);
      table = read_memory (disk);
      g_assert_cmpint (table->type, ==, H2K_TABLE_MBR);
      g_assert_cmpuint (table->volumes->len, ==, 4);
      g_assert_true (warned (table, links[i].warning));
    }
}

/* A logical partition over its own neighbour, and one that runs out of the disk, keep their
 * numbers but are left out. */
static void
test_chain_overlap (void)
{
  g_autoptr (H2kDisk) disk = extended_disk ();
  g_autoptr (H2kTable) table = NULL;

  put_entry (disk, 1000, 0, 0x83, 63, 2500);
  put_entry (disk, 3000, 1, 0x05, 4000, 100);
  put_entry (disk, 5000, 0, 0x83, 63, 0x80000000);
  put_entry (disk, 5000, 1, 0x05, 5000, 100);
  put_entry (disk, 6000, 0, 0x83, 63, 100);
  table = read_memory (disk);
  g_assert_nonnull (find_volume (table, 5));
  g_assert_null (find_volume (table, 6));
  g_assert_null (find_volume (table, 7));
  g_assert_nonnull (find_volume (table, 8));
  g_assert_true (warned (table, "overlaps partition 5"));
  g_assert_true (warned (table, "partition 7"));
}

static void
test_endless_chain (void)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (8 * MIB);
  g_autoptr (H2kTable) table = NULL;

  put_entry (disk, 0, 0, 0x05, 1000, 9000);
  for (guint i = 0; i < 4000; i++)
    {
      put_entry (disk, 1000 + 2 * i, 0, 0x83, 1, 1);
      put_entry (disk, 1000 + 2 * i, 1, 0x05, 2 * i + 2, 2);
    }
  table = read_memory (disk);
  g_assert_cmpuint (table->volumes->len, ==, 252);
  g_assert_true (warned (table, "more than 255 partitions"));
}

/* --- filesystems on the whole disk ------------------------------------------------------------ */

static void
test_whole_disk_filesystems (void)
{
  static const struct
  {
    const char *argv[8]; /* the image's path is the last one */
    const char *type;
  } makers[] = {
      {{"mkfs.vfat", "-I", "-F", "32", "--mbr=n"}, "vfat"},
      {{"mkfs.vfat", "-I", "-F", "16"}, "vfat"},
      {{"mkfs.ext4", "-q", "-F"}, "ext4"},
      {{"mkfs.ntfs", "-q", "-F", "-f"}, "ntfs"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (makers); i++)
    {
      g_autofree char *folder = g_dir_make_tmp ("h2k-volume-XXXXXX", NULL);
      g_autofree char *path = make_image (folder, NULL, 64 * MIB);
      g_autofree char *program = g_find_program_in_path (makers[i].argv[0]);
      const char *argv[10];
      guint n = 0;

      for (; makers[i].argv[n]; n++)
        argv[n] = makers[i].argv[n];
      argv[n++] = path;
      argv[n] = NULL;
      if (!program)
        g_test_message ("%s is not installed", makers[i].argv[0]);
      else
        {
          g_free (run (argv));
          g_autoptr (H2kTable) table = read_table (path);
          const char *blkid[] = {"blkid", "-p", "-o", "value", "-s", "TYPE", path, NULL};
          g_autofree char *type = run (blkid);

          g_assert_cmpstr (g_strstrip (type), ==, makers[i].type);
          g_assert_cmpint (table->type, ==, H2K_TABLE_NONE);
          g_assert_cmpuint (table->volumes->len, ==, 1);
          g_assert_cmpuint (find_volume (table, 0)->length, ==, 64 * MIB);
          g_assert_cmpuint (table->warnings->len, ==, 0);
        }
      remove_image (folder, path);
    }
}

/* A boot loader's sector in front of an ext filesystem: a signature, and code instead of a table,
 * or no partition at all. */
static void
test_boot_code_is_no_table (void)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (8 * MIB);
  g_autoptr (H2kTable) code = NULL, empty = NULL, elsewhere = NULL;

  put_entry (disk, 0, 0, 0, 0, 0);
  empty = read_memory (disk);
  g_assert_cmpint (empty->type, ==, H2K_TABLE_NONE);

  put_entry (disk, 0, 2, 0x83, 0x12345678, 0x1000);
  elsewhere = read_memory (disk);
  g_assert_cmpint (elsewhere->type, ==, H2K_TABLE_NONE);

  put_entry (disk, 0, 0, 0x83, 100, 100);
  put (disk, 446 + 16, "Missing operating system", 24);
  code = read_memory (disk);
  g_assert_cmpint (code->type, ==, H2K_TABLE_NONE);
}

static void
test_tiny_disks (void)
{
  for (guint64 size = 1; size < 4096; size += 511)
    {
      g_autoptr (H2kDisk) disk = h2k_memory_disk_new (size);
      g_autoptr (H2kTable) table = NULL;

      if (size >= 512)
        put_entry (disk, 0, 0, 0xee, 1, 0xffffffff);
      table = read_memory (disk);
      g_assert_cmpint (table->type, ==, size >= 512 ? H2K_TABLE_GPT : H2K_TABLE_NONE);
    }
}

/* --- real samples ----------------------------------------------------------------------------- */

static char *
unpack (const char *folder, const char *packed)
{
  g_autofree char *path = g_build_filename (folder, "disk.img", NULL);
  g_autoptr (GFile) from = g_file_new_for_path (packed), to = g_file_new_for_path (path);
  g_autoptr (GConverter) gunzip
      = G_CONVERTER (g_zlib_decompressor_new (G_ZLIB_COMPRESSOR_FORMAT_GZIP));
  g_autoptr (GError) error = NULL;
  g_autoptr (GInputStream) in = G_INPUT_STREAM (g_file_read (from, NULL, &error));
  g_autoptr (GInputStream) plain = NULL;
  g_autoptr (GOutputStream) out = NULL;

  g_assert_no_error (error);
  plain = g_converter_input_stream_new (in, gunzip);
  out = G_OUTPUT_STREAM (g_file_create (to, G_FILE_CREATE_NONE, NULL, &error));
  g_assert_no_error (error);
  g_output_stream_splice (out, plain, G_OUTPUT_STREAM_SPLICE_CLOSE_TARGET, NULL, &error);
  g_assert_no_error (error);
  return g_steal_pointer (&path);
}

static void
test_samples (void)
{
  static const struct
  {
    const char *path;
    H2kTableType type;
  } samples[] = {
      {"disk/dfir_ntfs/test_data/gpt-512-3p.raw.gz", H2K_TABLE_GPT},
      {"disk/dfir_ntfs/test_data/ntfs3.raw.gz", H2K_TABLE_NONE},
  };
  const char *testdata = g_getenv ("H2K_TESTDATA");

  if (!testdata)
    g_test_skip ("H2K_TESTDATA does not name the folder of real samples");
  for (guint i = 0; testdata && i < G_N_ELEMENTS (samples); i++)
    {
      g_autofree char *folder = g_dir_make_tmp ("h2k-volume-XXXXXX", NULL);
      g_autofree char *packed = g_build_filename (testdata, samples[i].path, NULL);
      g_autofree char *path = unpack (folder, packed);
      g_autoptr (H2kTable) table = read_table (path);

      g_assert_cmpint (table->type, ==, samples[i].type);
      if (table->type != H2K_TABLE_NONE)
        assert_like_sfdisk (table, path);
      remove_image (folder, path);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (layouts); i++)
    {
      g_autofree char *path = g_strdup_printf ("/volume/as-sfdisk/%s", layouts[i].name);
      g_test_add_data_func (path, &layouts[i], test_layout);
    }
  g_test_add_func ("/volume/names-and-roles", test_names);
  g_test_add_func ("/volume/gpt/sector-and-entry-sizes", test_gpt_geometry);
  g_test_add_func ("/volume/gpt/damaged-primary-gives-backup", test_gpt_backup);
  g_test_add_func ("/volume/gpt/backup-named-by-primary", test_gpt_alternate);
  g_test_add_func ("/volume/gpt/impossible-headers", test_gpt_impossible);
  g_test_add_func ("/volume/gpt/bad-entries-are-left-out", test_gpt_bad_entries);
  g_test_add_func ("/volume/gpt/hybrid-stale-and-bare", test_hybrid_and_stale_gpt);
  g_test_add_func ("/volume/mbr/chain", test_chain);
  g_test_add_func ("/volume/mbr/chain-trouble", test_chain_trouble);
  g_test_add_func ("/volume/mbr/chain-overlap", test_chain_overlap);
  g_test_add_func ("/volume/mbr/endless-chain", test_endless_chain);
  g_test_add_func ("/volume/none/whole-disk-filesystems", test_whole_disk_filesystems);
  g_test_add_func ("/volume/none/boot-code", test_boot_code_is_no_table);
  g_test_add_func ("/volume/none/tiny-disks", test_tiny_disks);
  g_test_add_func ("/volume/real-samples", test_samples);
  return g_test_run ();
}
