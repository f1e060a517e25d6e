/* test-usage-ntfs.c - the clusters in use are those of the volume's $Bitmap as ntfscat reads it,
 * and a copy without the others is as good as the original.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "usages.h"

typedef struct
{
  const char *options;
  guint64 size;
  guint cluster;
  guint8 junk;
} Config;

static const Config configs[] = {
    {"-c 512", 24u << 20, 512, 0xa5},
    {"-c 1024", 24u << 20, 1024, 0xa5},
    {"-c 4096", (30u << 20) + 512 * 77, 4096, 0xa5},
    {"-s 4096 -c 4096", 32u << 20, 4096, 0xa5},
    {"-s 2048 -c 8192", 32u << 20, 8192, 0xa5},
    {"-c 65536", 40u << 20, 65536, 0xa5},
    {"-c 131072", 200u << 20, 131072, 0},
    {"-c 2097152", 1u << 30, 2097152, 0},
};

#define N_FILES 12u

/* "@/image" with files, of which some were deleted again (cut off to nothing). */
static void
make_image (const Config *config)
{
  usage_make_image (config->size, config->junk);
  image_must_run ("mkntfs -Q -F -q %s @/image", config->options);
  usage_make_files (N_FILES, config->cluster > 1u << 20 ? 1u << 20 : 300000);
  for (guint i = 0; i < N_FILES; i++)
    image_must_run ("ntfscp -q @/image @/tree/f%u /f%u", i, i);
  for (guint i = 0; i < N_FILES; i += 3)
    {
      image_must_run ("truncate -s 0 @/tree/f%u", i);
      image_must_run ("ntfstruncate @/image %u 0x80 0", 64 + i);
    }
}

/* The file NAME ("-i 6": the record 6) of "@/IMAGE", as ntfscat reads it. */
static GBytes *
cat (const char *image, const char *name)
{
  g_autofree char *command = g_strdup_printf ("ntfscat -f %s/%s %s", image_dir (), image, name);
  g_auto (GStrv) argv = g_strsplit (command, " ", -1);
  g_autoptr (GSubprocess) process
      = g_subprocess_newv ((const char *const *)argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE, NULL);
  GBytes *output = NULL;

  g_assert_nonnull (process);
  g_assert_true (g_subprocess_communicate (process, NULL, NULL, &output, NULL, NULL));
  g_assert_true (g_subprocess_get_successful (process));
  return output;
}

/* "@/copy" has all the files of "@/tree", and is in order. */
static void
assert_whole (guint n_files)
{
  image_must_run ("ntfsfix -n @/copy");
  image_must_run ("ntfsresize -i -f @/copy");
  for (guint i = 0; i < n_files; i++)
    {
      g_autofree char *name = g_strdup_printf ("f%u", i);
      g_autofree char *path = g_build_filename (image_dir (), "tree", name, NULL);
      g_autofree char *data = NULL;
      g_autoptr (GBytes) bytes = cat ("copy", name);
      gsize length;
      g_assert_true (g_file_get_contents (path, &data, &length, NULL));
      g_assert_cmpmem (data, length, g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
    }
}

static void
assert_same_bitmap (H2kDisk *disk, guint cluster)
{
  g_autofree guint8 *map = usage_map (disk, cluster, FALSE);
  g_autoptr (GBytes) bitmap = cat ("image", "-i 6");
  const guint8 *bits = g_bytes_get_data (bitmap, NULL);
  guint8 boot[512];
  guint64 n, n_free = 0;

  g_assert_true (h2k_disk_pread (disk, 0, sizeof boot, boot, NULL));
  n = h2k_le64 (boot + 40) * h2k_le16 (boot + 11) / cluster;
  g_assert_cmpuint (n, <=, g_bytes_get_size (bitmap) * 8);
  for (guint64 i = 0; i < n / 8 * 8; i++)
    {
      g_assert_cmpuint (map[i], ==, bits[i / 8] >> (i % 8) & 1);
      n_free += !map[i];
    }
  for (guint64 i = n / 8 * 8; i < disk->size / cluster; i++)
    g_assert_cmpuint (map[i], ==, 1);
  g_assert_cmpuint (n_free * cluster, >, disk->size / 3);
}

static void
test_config (gconstpointer data)
{
  const Config *config = data;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) copy = NULL;
  guint64 in_use;

  if (!image_have ("mkntfs") || !image_have ("ntfscat"))
    return;
  make_image (config);
  disk = image_load ("image");
  assert_same_bitmap (disk, config->cluster);
  copy = usage_copy (disk, FALSE, &in_use);
  g_assert_cmpuint (in_use, <, disk->size / 3 * 2);
  image_save (copy, "copy");
  assert_whole (N_FILES);
}

/* A volume from another project's tests. */
static void
test_sample (void)
{
  const char *samples = g_getenv ("H2K_TESTDATA");
  g_autofree char *path
      = samples ? g_build_filename (samples, "disk/dfir_ntfs/test_data/ntfs3.raw.gz", NULL) : NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) copy = NULL;
  guint64 in_use;

  if (!path || !g_file_test (path, G_FILE_TEST_EXISTS))
    {
      g_test_skip ("H2K_TESTDATA has no ntfs3.raw.gz");
      return;
    }
  if (!image_have ("ntfsresize") || !image_have ("gzip"))
    return;
  image_must_run ("cp %s @/image.gz", path);
  image_must_run ("gzip -df @/image.gz");
  disk = image_load ("image");
  assert_same_bitmap (disk, 4096);
  copy = usage_copy (disk, TRUE, &in_use);
  g_assert_cmpuint (in_use, <, 5u << 20);
  image_save (copy, "copy");
  assert_whole (0);
}

/* --- hand-made changes ------------------------------------------------------------------------ */

static const Config small = {"-c 4096", 24u << 20, 4096, 0xa5};

static H2kDisk *
make_small (void)
{
  if (!image_have ("mkntfs"))
    return NULL;
  make_image (&small);
  return image_load ("image");
}

/* Where the attribute of TYPE lies in the file record NUMBER, of a volume with an $MFT in one
 * piece.
 */
static guint64
attribute_at (H2kDisk *disk, guint number, guint32 type)
{
  guint8 boot[512], data[1024];
  guint64 record;
  guint at;

  g_assert_true (h2k_disk_pread (disk, 0, sizeof boot, boot, NULL));
  record = h2k_le64 (boot + 48) * boot[13] * 512 + number * 1024;
  g_assert_true (h2k_disk_pread (disk, record, sizeof data, data, NULL));
  at = h2k_le16 (data + 20);
  while (h2k_le32 (data + at) != type)
    {
      g_assert_cmpuint (h2k_le32 (data + at), <, type);
      at += h2k_le32 (data + at + 4);
    }
  return record + at;
}

/* The first cluster of the file with the record NUMBER: its first run is u8 sizes, length, LCN. */
static guint64
first_cluster (H2kDisk *disk, guint number)
{
  guint64 lcn = 0;
  guint8 run[17];
  guint at;

  g_assert_true (
      h2k_disk_pread (disk, attribute_at (disk, number, 0x80) + 64, sizeof run, run, NULL));
  at = 1 + (run[0] & 15);
  for (guint i = run[0] >> 4; i-- > 0;)
    lcn = lcn << 8 | run[at + i];
  return lcn;
}

static void
test_flags (void)
{
  static const struct
  {
    guint16 flags;
    const char *reason; /* NULL: none of a volume that was not unmounted */
  } cases[] = {
      {0x0001, "marked as dirty"},
      {0x0002, "resize"},
      {0x0004, "upgrade"},
      {0x4000, "chkdsk has not finished"},
      {0x8000, "chkdsk has changed"},
      {0x0008, NULL},
      {0x0080, NULL},
  };
  g_autoptr (H2kDisk) disk = make_small ();
  guint64 at;

  if (!disk)
    return;
  at = attribute_at (disk, 3, 0x70);
  at += 24 + 10;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      guint16 flags = GUINT16_TO_LE (cases[i].flags);
      g_autoptr (H2kDisk) patched = usage_patched (disk, at, &flags, sizeof flags);
      if (cases[i].reason)
        usage_assert_refused (patched, cases[i].reason);
      else
        h2k_disk_unref (usage_copy (patched, FALSE, NULL));
    }
}

static guint64
log_at (H2kDisk *disk)
{
  return first_cluster (disk, 2) * 4096;
}

/* A restart page of the log file. */
static void
make_page (guint8 *page, guint64 lsn, guint major, guint clients, guint flags)
{
  memset (page, 0, 4096);
  memcpy (page, "RSTR\x1e\0\x09\0", 8);
  page[17] = page[21] = 0x10; /* sizes of 4096 bytes */
  page[24] = 0x30;
  page[26] = 1;
  page[28] = (guint8)major;
  for (guint i = 0; i < 8; i++)
    {
      memcpy (page + 0x1e + 2 + i * 2, page + i * 512 + 510, 2);
      memcpy (page + i * 512 + 510, "\x07", 2);
    }
  memcpy (page + 0x1e, "\x07", 2);
  lsn = GUINT64_TO_LE (lsn);
  memcpy (page + 0x30, &lsn, 8);
  page[0x30 + 12] = page[0x30 + 13] = (guint8)clients;
  page[0x30 + 14] = (guint8)flags;
}

static void
test_log (void)
{
  static const struct
  {
    guint lsn[2], major[2], clients[2], flags[2];
    gboolean clean;
  } cases[] = {
      {{5, 6}, {1, 1}, {0xff, 0xff}, {0, 0}, TRUE},
      {{5, 6}, {1, 1}, {0, 0xff}, {0, 0}, TRUE},  /* the older one is not clean */
      {{5, 6}, {1, 1}, {0xff, 0}, {0, 0}, FALSE}, /* the newer one is not */
      {{6, 5}, {1, 1}, {0, 0xff}, {0, 0}, FALSE},
      {{6, 6}, {1, 1}, {0, 0xff}, {0, 0}, FALSE}, /* one of two that are equally new is not */
      {{6, 6}, {1, 1}, {0xff, 0}, {0, 0}, FALSE},
      {{6, 5}, {1, 1}, {0, 0}, {2, 0}, TRUE}, /* it says that the volume is clean */
      {{6, 5}, {2, 2}, {0xff, 0xff}, {2, 2}, FALSE},
  };
  g_autoptr (H2kDisk) disk = make_small ();
  guint8 pages[8192];

  if (!disk)
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDisk) patched = NULL;
      for (guint p = 0; p < 2; p++)
        make_page (pages + p * 4096, cases[i].lsn[p], cases[i].major[p], cases[i].clients[p],
                   cases[i].flags[p]);
      patched = usage_patched (disk, log_at (disk), pages, sizeof pages);
      if (cases[i].clean)
        h2k_disk_unref (usage_copy (patched, FALSE, NULL));
      else
        usage_assert_refused (patched, "has not been replayed");
    }
  /* Neither restart pages nor nothing. */
  for (guint at = 0; at < 16384; at += 5000)
    {
      g_autoptr (H2kDisk) patched = usage_patched (disk, log_at (disk) + at, "RCRD", 4);
      usage_assert_refused (patched, "has not been replayed");
    }
}

/* A bitmap that says that one of the filesystem's own files is not there is not believed. */
static void
test_bad_bitmap (void)
{
  static const guint records[] = {0, 1, 2, 6, 7, 10};
  g_autoptr (H2kDisk) disk = make_small ();
  guint64 bitmap;

  if (!disk)
    return;
  bitmap = first_cluster (disk, 6) * 4096;
  for (gsize i = 0; i < G_N_ELEMENTS (records); i++)
    {
      g_autoptr (H2kDisk) patched = NULL;
      guint64 lcn = MAX (first_cluster (disk, records[i]), 1);
      guint8 byte;
      g_assert_true (h2k_disk_pread (disk, bitmap + lcn / 8, 1, &byte, NULL));
      byte &= (guint8) ~(1 << lcn % 8);
      patched = usage_patched (disk, bitmap + lcn / 8, &byte, 1);
      usage_assert_refused (patched, "$Bitmap");
    }
}

static void
test_shadow_copies (void)
{
  static const char id[] = "\x6b\x87\x08\x38\x76\xc1\x48\x4e\xb7\xae\x04\x04\x6e\x6c\xc7\x52";
  g_autoptr (H2kDisk) disk = make_small ();
  g_autoptr (H2kDisk) vss = NULL;
  guint8 header[128] = {0}, catalog[16384] = {0};
  const guint64 at = 20u << 20, le = GUINT64_TO_LE (at);

  if (!disk)
    return;
  memcpy (header, id, 16);
  header[16] = header[20] = 1;
  vss = usage_patched (disk, 7680, header, sizeof header);
  h2k_disk_unref (usage_copy (vss, FALSE, NULL)); /* shadow copies are possible, there is none */
  memcpy (header + 48, &le, 8);
  g_assert_true (h2k_disk_pwrite (vss, 7680, sizeof header, header, NULL));
  usage_assert_refused (vss, "shadow copies"); /* no catalogue where it should be */
  memcpy (catalog, id, 16);
  catalog[16] = 1;
  catalog[20] = 2;
  catalog[128] = 1;
  g_assert_true (h2k_disk_pwrite (vss, at, sizeof catalog, catalog, NULL));
  h2k_disk_unref (usage_copy (vss, FALSE, NULL));
  catalog[256] = 2;
  g_assert_true (h2k_disk_pwrite (vss, at, sizeof catalog, catalog, NULL));
  usage_assert_refused (vss, "shadow copies");
  catalog[256] = 0;
  memcpy (catalog + 40, &le, 8); /* the next block is this one */
  g_assert_true (h2k_disk_pwrite (vss, at, sizeof catalog, catalog, NULL));
  usage_assert_refused (vss, "shadow copies");
}

/* --- the files of the root directory ---------------------------------------------------------- */

static void
make_file (const char *name, const char *head, guint size)
{
  g_autofree char *path = g_build_filename (image_dir (), "file", NULL);
  g_autofree char *data = g_malloc (size);

  memset (data, 0x5a, size);
  memcpy (data, head, strlen (head) + 1);
  g_assert_true (g_file_set_contents (path, data, size, NULL));
  image_must_run ("ntfscp -q @/image @/file /%s", name);
}

static void
test_hibernation (void)
{
  static const struct
  {
    const char *name, *magic;
    gboolean refused;
  } cases[] = {
      {"hiberfil.sys", "wake", FALSE}, {"HIBERFIL.SYS", "hibr", TRUE},
      {"hiberfil.sys", "HIBR", TRUE},  {"hiberfil.sys", "", FALSE},
      {"hiberfil.sy", "hibr", FALSE},
  };

  if (!image_have ("mkntfs") || !image_have ("ntfscp"))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDisk) disk = NULL;
      usage_make_image (8u << 20, 0);
      image_must_run ("mkntfs -Q -F -q -c 1024 @/image");
      make_file (cases[i].name, cases[i].magic, i == 2 ? 100 : 50000);
      disk = image_load ("image");
      if (cases[i].refused)
        usage_assert_refused (disk, "hibernated");
      else
        h2k_disk_unref (usage_copy (disk, TRUE, NULL));
    }
}

/* Mark all the clusters but every STEP-th as used, or those as they were before: what is written
 * meanwhile is in many pieces. */
static void
set_bitmap (guint64 at, const guint8 *before, guint8 *bits, gsize length)
{
  g_autoptr (H2kDisk) disk = image_load ("image");
  guint8 now[8192];

  g_assert_cmpuint (length, <=, sizeof now);
  g_assert_true (h2k_disk_pread (disk, at, length, now, NULL));
  for (gsize i = 0; i < length; i++)
    if (!bits) /* fill */
      now[i] |= 0x0f;
    else /* take away what was put in */
      now[i] = (guint8)((now[i] & ~0x0f) | (before[i] & 0x0f));
  if (bits)
    memcpy (bits, now, length);
  g_assert_true (h2k_disk_pwrite (disk, at, length, now, NULL));
  image_save (disk, "image");
}

/* The runs of pagefile.sys are so many that they need an attribute list. The root directory is
 * large, and what is in pagefile.sys need not be copied. */
static void
test_fragments (void)
{
  const guint n_files = 60;
  guint8 before[8192], bits[8192];
  guint64 bitmap, all, rest;
  gsize length = (32u << 20) / 512 / 8 - 8;
  g_autofree char *info = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) copy = NULL;

  if (!image_have ("mkntfs") || !image_have ("ntfscp") || !image_have ("ntfsinfo"))
    return;
  usage_make_image (32u << 20, 0xa5);
  image_must_run ("mkntfs -Q -F -q -c 512 @/image");
  disk = image_load ("image");
  bitmap = first_cluster (disk, 6) * 512;
  g_assert_true (h2k_disk_pread (disk, bitmap, length, before, NULL));
  g_clear_pointer (&disk, h2k_disk_unref);

  set_bitmap (bitmap, before, NULL, length);
  usage_make_files (n_files, 600);
  for (guint i = 0; i < n_files; i++)
    image_must_run ("ntfscp -q @/image @/tree/f%u /f%u", i, i);
  for (guint size = 4000; size <= 400000; size += 4000)
    make_file ("PageFile.sys", "pages", size); /* all at once is too much for ntfscp */
  set_bitmap (bitmap, before, bits, length);
  g_assert_cmpint (image_run (&info, "ntfsinfo -F PageFile.sys @/image"), ==, 0);
  g_assert_nonnull (strstr (info, "ATTRIBUTE_LIST"));

  disk = image_load ("image");
  g_assert_true (disk->size > 0);
  assert_same_bitmap (disk, 512);
  h2k_disk_unref (usage_copy (disk, FALSE, &all));
  copy = usage_copy (disk, TRUE, &rest);
  g_assert_cmpuint (all - rest, ==, (400000 + 511) / 512 * 512);
  image_save (copy, "copy");
  assert_whole (n_files);
}

/* Write a file record with its check values. */
static void
put_record (H2kDisk *disk, guint64 at, guint8 *record)
{
  guint8 *array = record + h2k_le16 (record + 4);

  for (guint i = 1; i <= 2; i++)
    {
      memcpy (array + i * 2, record + i * 512 - 2, 2);
      memcpy (record + i * 512 - 2, array, 2);
    }
  g_assert_true (h2k_disk_pwrite (disk, at, 1024, record, NULL));
}

/* Append an attribute with runs: COUNT clusters from LCN on, which are those from VCN on. */
static guint8 *
put_data (guint8 *p, guint64 vcn, guint64 lcn, guint count, guint instance, guint64 size)
{
  const guint64 numbers[] = {GUINT64_TO_LE (vcn),
                             GUINT64_TO_LE (vcn + count - 1),
                             GUINT64_TO_LE (64),
                             GUINT64_TO_LE (vcn ? 0 : size),
                             GUINT64_TO_LE (vcn ? 0 : size),
                             GUINT64_TO_LE (vcn ? 0 : size)};

  memset (p, 0, 72);
  p[0] = 0x80;
  p[4] = 72;
  p[8] = 1;
  p[14] = (guint8)instance;
  memcpy (p + 16, numbers, sizeof numbers);
  p[64] = 0x31;
  p[65] = (guint8)count;
  p[66] = (guint8)lcn;
  p[67] = (guint8)(lcn >> 8);
  p[68] = (guint8)(lcn >> 16);
  return p + 72;
}

/* Append an entry of an attribute list. */
static guint8 *
put_entry (guint8 *p, const guint8 *attr, guint64 vcn, guint record)
{
  memset (p, 0, 32);
  p[0] = attr[0];
  p[4] = 32;
  p[7] = 26;
  p[8] = (guint8)vcn;
  p[16] = (guint8)record;
  p[22] = (guint8)(record ? record : 1); /* the sequence numbers of mkntfs */
  p[24] = attr[14];
  return p + 32;
}

#define EXTENT 40u /* the record that has the second piece */

/* Divide the $MFT's data into two pieces, the second of which is described by a record in the
 * first. The PIECE_AT (VCN) must be behind that record. */
static void
split_mft (H2kDisk *disk, guint64 piece_at)
{
  guint64 at = attribute_at (disk, 0, 0x10) - 56, lcn = first_cluster (disk, 0), size, n;
  guint8 old[1024], new[1024], extent[1024], *p, *entry, *data = NULL, *list;

  g_assert_true (h2k_disk_pread (disk, at, 1024, old, NULL));
  old[510] = old[h2k_le16 (old + 4) + 2];
  old[511] = old[h2k_le16 (old + 4) + 3];
  old[1022] = old[h2k_le16 (old + 4) + 4];
  old[1023] = old[h2k_le16 (old + 4) + 5];
  memcpy (new, old, 1024);
  memcpy (extent, old, 1024);
  p = new + 56 + h2k_le32 (old + 56 + 4); /* behind $STANDARD_INFORMATION */
  list = p;
  memset (list, 0, 24);
  list[0] = 0x20;
  list[14] = 20;
  list[20] = 24;
  entry = put_entry (list + 24, old + 56, 0, 0);
  p = list + 24 + 32 * 5;
  for (guint8 *attr = old + 56 + h2k_le32 (old + 60); h2k_le32 (attr) != 0xffffffff;
       attr += h2k_le32 (attr + 4))
    {
      if (attr[0] == 0x80)
        {
          data = attr;
          size = h2k_le64 (attr + 48);
          n = h2k_le64 (attr + 24) + 1;
          g_assert_cmpuint (n, >, piece_at);
          p = put_data (p, 0, lcn, (guint)piece_at, attr[14], size);
          entry = put_entry (entry, attr, 0, 0);
          put_data (extent + 56, piece_at, lcn + piece_at, (guint)(n - piece_at), 30, size);
          entry = put_entry (entry, extent + 56, piece_at, EXTENT);
        }
      else
        {
          memcpy (p, attr, h2k_le32 (attr + 4));
          p += h2k_le32 (attr + 4);
          entry = put_entry (entry, attr, 0, 0);
        }
    }
  g_assert_nonnull (data);
  g_assert_cmpint (entry - list, ==, 24 + 32 * 5);
  list[4] = list[16] = (guint8)(entry - list);
  list[16] = (guint8)(list[16] - 24);
  memset (p, 0xff, 4);
  memset (p + 4, 0, (gsize)(new + 1024 - p - 4));
  new[24] = (guint8)(p + 8 - new);
  new[25] = (guint8)((p + 8 - new) >> 8);
  memset (extent + 56 + 72, 0xff, 4);
  extent[16] = EXTENT; /* sequence number */
  extent[24] = 56 + 72 + 8;
  extent[25] = 0;
  extent[38] = 1; /* the base record is 0 and has this sequence number */
  put_record (disk, at, new);
  g_assert_true (h2k_disk_pwrite (disk, first_cluster (disk, 1) * 4096, 1024, new, NULL));
  put_record (disk, at + EXTENT * 1024, extent);
}

/* Where a part of the $MFT is, is said in a part before it, or else nowhere. */
static void
test_mft_in_pieces (void)
{
  g_autoptr (H2kDisk) disk = make_small ();
  g_autoptr (H2kDisk) bad = NULL;
  g_autoptr (H2kDisk) copy = NULL;
  g_autofree char *info = NULL;

  if (!disk)
    return;
  bad = usage_patched (disk, disk->size - 1, "", 1);
  split_mft (bad, EXTENT / 4);
  usage_assert_refused (bad, "a file ends before");
  split_mft (disk, EXTENT / 4 + 4);
  image_save (disk, "image");
  g_assert_cmpint (image_run (&info, "ntfsinfo -i 0 @/image"), ==, 0);
  g_assert_nonnull (strstr (info, "ATTRIBUTE_LIST"));
  assert_same_bitmap (disk, 4096);
  copy = usage_copy (disk, FALSE, NULL);
  image_save (copy, "copy");
  for (guint i = 0; i < N_FILES; i++)
    g_bytes_unref (cat ("copy", "f1"));
}

/* It was a btrfs filesystem once, or is one now. */
static void
test_two_signs (void)
{
  g_autoptr (H2kDisk) disk = make_small ();
  g_autoptr (H2kDisk) patched = NULL;

  if (!disk)
    return;
  patched = usage_patched (disk, 65600, "_BHRfS_M", 8);
  usage_assert_refused (patched, "signature of btrfs");
}

static void
test_damage (void)
{
  g_autoptr (H2kDisk) disk = make_small ();
  g_autoptr (GRand) rand = g_rand_new_with_seed (11);
  guint refused = 0;

  if (!disk)
    return;
  usage_assert_faults (disk);
  for (guint i = 0; i < 400; i++)
    {
      guint8 byte = (guint8)g_rand_int (rand);
      guint64 at
          = i % 4 ? attribute_at (disk, 0, 0x10) - 56 + (guint)g_rand_int_range (rand, 0, 12 * 1024)
                  : (guint)g_rand_int_range (rand, 0, 80);
      g_autoptr (H2kDisk) patched = usage_patched (disk, at, &byte, 1);
      g_autoptr (H2kUsage) usage = h2k_usage_open (patched, TRUE, NULL);
      refused += !usage;
      if (usage)
        h2k_disk_unref (usage_copy (patched, TRUE, NULL));
    }
  g_assert_cmpuint (refused, >, 20);
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *name = g_strdup_printf ("/usage-ntfs/config/%s", configs[i].options);
      g_test_add_data_func (name, &configs[i], test_config);
    }
  g_test_add_func ("/usage-ntfs/sample", test_sample);
  g_test_add_func ("/usage-ntfs/flags", test_flags);
  g_test_add_func ("/usage-ntfs/log", test_log);
  g_test_add_func ("/usage-ntfs/bad-bitmap", test_bad_bitmap);
  g_test_add_func ("/usage-ntfs/shadow-copies", test_shadow_copies);
  g_test_add_func ("/usage-ntfs/hibernation", test_hibernation);
  g_test_add_func ("/usage-ntfs/fragments", test_fragments);
  g_test_add_func ("/usage-ntfs/mft-in-pieces", test_mft_in_pieces);
  g_test_add_func ("/usage-ntfs/two-signs", test_two_signs);
  g_test_add_func ("/usage-ntfs/damage", test_damage);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
