/* test-vhdx.c - images that qemu-img made and images built here (differencing, 4 KiB sectors, dirty
 * logs, damage), read as they are meant; real ones, read as QEMU reads them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "image-fixture.h"

#include <sys/stat.h>

/* --- helpers ---------------------------------------------------------------------------------- */

static H2kDisk *
open_vhdx (Fixture *f, const char *name)
{
  H2kDisk *disk = open_disk (f, name, NULL);

  g_assert_cmpstr (disk->format, ==, "vhdx");
  g_assert_false (h2k_disk_is_writable (disk));
  return disk;
}

static gsize
read_some (int fd, guint8 *buffer, gsize length, guint64 offset)
{
  g_assert_cmpint (h2k_pread_full (fd, buffer, length, offset), ==, 0);
  return length;
}

/* DISK and the file open as FD are the same between START and END. */
static void
check_same_range (H2kDisk *disk, int fd, guint64 start, guint64 end)
{
  g_autofree guint8 *got = g_malloc (2 * MIB), *expected = g_malloc (2 * MIB);
  g_autoptr (GError) error = NULL;

  for (gsize n; start < end; start += n)
    {
      n = read_some (fd, expected, (gsize)MIN (2 * MIB, end - start), start);
      h2k_disk_pread (disk, start, n, got, &error);
      g_assert_no_error (error);
      g_assert_cmpmem (got, n, expected, n);
    }
}

/* The disk NAME has the content of the file RAW: where the file has data, and where the disk's
 * extents say that it has some; elsewhere both are holes. Returns the bytes of data. */
static guint64
check_same (Fixture *f, const char *name, const char *raw)
{
  g_autoptr (H2kDisk) disk = open_vhdx (f, name);
  g_autofree char *path = path_of (f, raw);
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);
  g_autoptr (GError) error = NULL;
  int fd = g_open (path, O_RDONLY | O_CLOEXEC);
  guint64 data = 0;
  H2kExtent extent;
  struct stat st;

  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (fstat (fd, &st), ==, 0);
  g_assert_cmpuint (disk->size, ==, (guint64)st.st_size);
  for (off_t at = 0; (at = lseek (fd, at, SEEK_DATA)) >= 0;)
    {
      off_t hole = lseek (fd, at, SEEK_HOLE);
      check_same_range (disk, fd, (guint64)at, (guint64)hole);
      at = hole;
    }
  for (guint64 at = 0; at < disk->size; at += extent.length)
    {
      h2k_disk_extent (disk, at, disk->size, &extent, &error);
      g_assert_no_error (error);
      g_assert_cmpuint (extent.offset, ==, at);
      g_assert_cmpuint (extent.length, <=, disk->size - at);
      if (extent.kind != H2K_EXTENT_DATA)
        continue;
      check_same_range (disk, fd, at, at + extent.length);
      data += extent.length;
    }
  for (guint i = 0; i < 100; i++)
    {
      guint64 offset = (guint64)(g_rand_double (rand) * (double)disk->size);
      check_same_range (disk, fd, offset, MIN (disk->size, offset + 1 + g_rand_int (rand) % 9000));
    }
  close (fd);
  return data;
}

/* --- what is said ----------------------------------------------------------------------------- */

static GString *messages; /* what g_message() said since the test began */

static GLogWriterOutput
collect_message (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data)
{
  if ((level & G_LOG_LEVEL_MASK) != G_LOG_LEVEL_MESSAGE)
    return g_log_writer_default (level, fields, n, data);
  for (gsize i = 0; i < n; i++)
    if (g_str_equal (fields[i].key, "MESSAGE"))
      g_string_append_printf (messages, "%s\n", (const char *)fields[i].value);
  return G_LOG_WRITER_HANDLED;
}

/* Whether a message contained WORDS; forgets all. */
static gboolean
was_said (const char *words)
{
  gboolean found = strstr (messages->str, words) != NULL;

  g_string_truncate (messages, 0);
  return found;
}

/* --- images built here ------------------------------------------------------------------------ */

enum
{
  AT_HEADER1 = 0x10000,
  AT_HEADER2 = 0x20000,
  AT_REGIONS1 = 0x30000,
  AT_REGIONS2 = 0x40000,
  AT_LOG = 0x100000,
  AT_METADATA = 0x200000,
  AT_BAT = 0x300000,
  AT_BLOCKS = 0x400000,
};

#define BAT_GUID "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08"
#define METADATA_GUID "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"
#define LOCATOR_GUID "\xb7\xef\x4a\xb0\x9e\xd1\x81\x4a\xb7\x89\x25\xb8\xe9\x44\x59\x13"
#define LOG_GUID "log-guid-of-test"
#define DATA_GUID "\x04\x03\x02\x01\x06\x05\x08\x07\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
#define DATA_GUID_TEXT "{01020304-0506-0708-090A-0B0C0D0E0F10}"

static const char *const item_guids[] = {
    "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b", /* file parameters */
    "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8", /* virtual disk size */
    "\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46", /* virtual disk id */
    "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f", /* logical sector */
    "\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56", /* physical sector */
    "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c", /* parent locator */
};

/* The whole file in memory. */
typedef struct
{
  guint8 *data;
  gsize size;
  guint64 disk_size;
  guint32 block_size, sector_size;
} Image;

static void
image_free (Image *image)
{
  g_free (image->data);
  g_free (image);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Image, image_free)

static void
le (Image *image, guint64 offset, guint64 value, gsize size)
{
  guint64 little = GUINT64_TO_LE (value);

  g_assert_cmpuint (offset + size, <=, image->size);
  memcpy (image->data + offset, &little, size);
}

static guint32
crc (const guint8 *data, gsize length)
{
  static const guint8 zeros[4] = {0};
  return ~h2k_crc32c (h2k_crc32c (h2k_crc32c (~0u, data, 4), zeros, 4), data + 8, length - 8);
}

/* Make the checksums right. */
static void
seal (Image *image)
{
  static const struct
  {
    guint64 offset;
    gsize length;
  } sums[] = {{AT_HEADER1, 4096}, {AT_HEADER2, 4096}, {AT_REGIONS1, 65536}, {AT_REGIONS2, 65536}};

  for (guint i = 0; i < G_N_ELEMENTS (sums); i++)
    le (image, sums[i].offset + 4, crc (image->data + sums[i].offset, sums[i].length), 4);
}

static void
add_item (Image *image, guint index, guint32 offset, guint32 length)
{
  guint64 at = AT_METADATA + 32 + 32 * index;

  memcpy (image->data + at, item_guids[index], 16);
  le (image, at + 16, offset, 4);
  le (image, at + 20, length, 4);
  le (image, at + 24, 4, 4);
  le (image, AT_METADATA + 10, index + 1, 2);
}

static void
add_region (Image *image, guint index, const char *guid, guint64 offset)
{
  for (guint64 table = AT_REGIONS1; table <= AT_REGIONS2; table += 0x10000)
    {
      guint64 at = table + 16 + 32 * index;
      memcpy (image->data + table, "regi", 4);
      le (image, table + 8, index + 1, 4);
      memcpy (image->data + at, guid, 16);
      le (image, at + 16, offset, 8);
      le (image, at + 24, MIB, 4);
      le (image, at + 28, 1, 4);
    }
}

/* An empty disk in a file with room for BLOCKS MiB of blocks. FLAGS are those of the parameters. */
static Image *
image_new (guint64 disk_size, guint32 block_size, guint32 sector_size, guint32 flags, guint blocks)
{
  Image *image = g_new0 (Image, 1);

  image->size = AT_BLOCKS + blocks * MIB;
  image->data = g_malloc0 (image->size);
  image->disk_size = disk_size;
  image->block_size = block_size;
  image->sector_size = sector_size;
  memcpy (image->data, "vhdxfile", 8);
  for (guint64 at = AT_HEADER1; at <= AT_HEADER2; at += 0x10000)
    {
      memcpy (image->data + at, "head", 4);
      le (image, at + 8, at / 0x10000, 8);
      memcpy (image->data + at + 32, DATA_GUID, 16);
      le (image, at + 66, 1, 2);
      le (image, at + 68, MIB, 4);
      le (image, at + 72, AT_LOG, 8);
    }
  add_region (image, 0, BAT_GUID, AT_BAT);
  add_region (image, 1, METADATA_GUID, AT_METADATA);
  memcpy (image->data + AT_METADATA, "metadata", 8);
  add_item (image, 0, 65536, 8);
  add_item (image, 1, 65544, 8);
  add_item (image, 2, 65552, 16);
  add_item (image, 3, 65568, 4);
  add_item (image, 4, 65572, 4);
  le (image, AT_METADATA + 65536, block_size, 4);
  le (image, AT_METADATA + 65540, flags, 4);
  le (image, AT_METADATA + 65544, disk_size, 8);
  le (image, AT_METADATA + 65568, sector_size, 4);
  le (image, AT_METADATA + 65572, 4096, 4);
  seal (image);
  return image;
}

static guint64
bat_place (const Image *image, guint64 block)
{
  guint64 ratio = ((guint64)1 << 23) * image->sector_size / image->block_size;
  return AT_BAT + 8 * (block + block / ratio);
}

/* Block NUMBER is in STATE and at MiB HOST of the file. */
static void
set_block (Image *image, guint64 number, guint state, guint64 host)
{
  le (image, bat_place (image, number), host << 20 | state, 8);
}

static guint64
bitmap_place (const Image *image, guint64 chunk)
{
  guint64 ratio = ((guint64)1 << 23) * image->sector_size / image->block_size;
  return AT_BAT + 8 * (chunk * (ratio + 1) + ratio);
}

static void
fill (Image *image, guint64 offset, guint64 length, guint8 value)
{
  g_assert_cmpuint (offset + length, <=, image->size);
  memset (image->data + offset, value, length);
}

static void
save_image (Fixture *f, const char *name, const Image *image)
{
  g_autofree char *path = path_of (f, name);
  int fd = g_open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  g_assert_cmpint (fd, >=, 0);
  for (gsize at = 0; at < image->size; at += 65536)
    {
      gsize n = MIN (65536, image->size - at);
      if (!h2k_is_zero (image->data + at, n))
        g_assert_cmpint (h2k_pwrite_full (fd, image->data + at, n, at), ==, 0);
    }
  g_assert_cmpint (ftruncate (fd, (off_t)image->size), ==, 0);
  close (fd);
}

/* A parent locator with KEYS and VALUES, alternating, up to a NULL. */
static void
set_parent (Image *image, const char *const *pairs)
{
  guint64 item = AT_METADATA + 0x20000, at = 0x200;
  guint count = 0;

  for (; pairs[2 * count]; count++)
    for (guint i = 0; i < 2; i++)
      {
        glong length;
        g_autofree gunichar2 *text
            = g_utf8_to_utf16 (pairs[2 * count + i], -1, NULL, &length, NULL);
        le (image, item + 20 + 12 * count + 4 * i, at, 4);
        le (image, item + 20 + 12 * count + 8 + 2 * i, (guint64)length * 2, 2);
        for (glong k = 0; k < length; k++, at += 2)
          le (image, item + at, text[k], 2);
      }
  memcpy (image->data + item, LOCATOR_GUID, 16);
  le (image, item + 18, count, 2);
  add_item (image, 5, 0x20000, (guint32)at);
}

/* --- logs built here -------------------------------------------------------------------------- */

typedef struct
{
  guint64 offset;
  const guint8 *data; /* NULL: zeros */
  guint64 length;     /* of zeros */
} Update;

typedef struct
{
  guint32 at, tail; /* in the log */
  guint64 sequence, flushed, last;
} LogEntry;

static guint8 *
log_sector (Image *image, guint64 at)
{
  return image->data + AT_LOG + at % MIB;
}

/* Write ENTRY, which may wrap around, with N updates. Returns where the next one goes. */
static guint32
log_write (Image *image, const LogEntry *entry, const Update *updates, guint n)
{
  guint64 at = entry->at, sectors = (64 + 32 * (guint64)n + 4095) / 4096, sector = sectors, length;
  g_autofree guint8 *whole = NULL;

  for (guint i = 0; i < n; i++)
    sectors += updates[i].data != NULL;
  length = sectors * 4096;
  whole = g_malloc0 (length);
  for (guint i = 0; i < n; i++)
    {
      guint8 *descriptor = whole + 64 + 32 * i;
      guint64 words[4] = {0};
      memcpy (words, updates[i].data ? "desc" : "zero", 4);
      words[1] = GUINT64_TO_LE (updates[i].length);
      words[2] = GUINT64_TO_LE (updates[i].offset);
      words[3] = GUINT64_TO_LE (entry->sequence);
      memcpy (descriptor, words, 32);
      if (updates[i].data)
        {
          guint8 *out = whole + sector++ * 4096;
          guint32 high = GUINT32_TO_LE ((guint32)(entry->sequence >> 32));
          guint32 low = GUINT32_TO_LE ((guint32)entry->sequence);
          memcpy (out, updates[i].data, 4096);
          memcpy (descriptor + 8, out, 8);
          memcpy (descriptor + 4, out + 4092, 4);
          memcpy (out, "data", 4);
          memcpy (out + 4, &high, 4);
          memcpy (out + 4092, &low, 4);
        }
    }
  {
    Image header = {.data = whole, .size = length};
    memcpy (whole, "loge", 4);
    le (&header, 8, length, 4);
    le (&header, 12, entry->tail, 4);
    le (&header, 16, entry->sequence, 8);
    le (&header, 24, n, 4);
    memcpy (whole + 32, LOG_GUID, 16);
    le (&header, 48, entry->flushed, 8);
    le (&header, 56, entry->last, 8);
    le (&header, 4, crc (whole, length), 4);
  }
  for (guint64 i = 0; i < length; i += 4096)
    memcpy (log_sector (image, at + i), whole + i, 4096);
  return (guint32)((at + length) % MIB);
}

static void
make_dirty (Image *image)
{
  memcpy (image->data + AT_HEADER1 + 48, LOG_GUID, 16);
  memcpy (image->data + AT_HEADER2 + 48, LOG_GUID, 16);
  seal (image);
}

/* The byte at OFFSET of the image's disk. */
static guint8
byte_at (Fixture *f, const Image *image, guint64 offset)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (GError) error = NULL;
  guint8 byte = 0;

  save_image (f, "t.vhdx", image);
  disk = open_vhdx (f, "t.vhdx");
  h2k_disk_pread (disk, offset, 1, &byte, &error);
  g_assert_no_error (error);
  return byte;
}

/* --- what QEMU makes -------------------------------------------------------------------------- */

static void
test_layouts (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *options, *subformat;
    guint64 size;
  } layouts[] = {
      {"subformat=dynamic,block_size=1M", "dynamic", 37 * MIB + 512},
      {"subformat=dynamic,block_size=2M,block_state_zero=off", "dynamic", 9 * GIB + 1024},
      {"subformat=dynamic,block_size=256M,log_size=4M", "dynamic", 600 * MIB},
      {"subformat=dynamic", "dynamic", 100 * GIB},
      {"subformat=dynamic,block_size=1M", "dynamic", 9 * GIB},
      {"subformat=fixed,block_size=1M", "fixed", 21 * MIB + 512},
      {"subformat=fixed,block_size=16M,log_size=2M", "fixed", 40 * MIB},
  };

  for (guint i = 0; i < G_N_ELEMENTS (layouts); i++)
    {
      g_autoptr (H2kDisk) disk = NULL;
      gboolean large = layouts[i].size > 20 * GIB;

      run (f, "qemu-img create -q -f vhdx -o %s t.vhdx %" G_GUINT64_FORMAT, layouts[i].options,
           layouts[i].size);
      disk = open_vhdx (f, "t.vhdx");
      g_assert_cmpstr (disk->subformat, ==, layouts[i].subformat);
      g_assert_cmpuint (disk->sector_size, ==, 512);
      g_assert_cmpuint (disk->size, ==, layouts[i].size);
      if (large)
        continue;
      scribble (f, "t.vhdx", "vhdx", layouts[i].size, i);
      run (f, "qemu-img convert -t unsafe -O raw t.vhdx t.raw");
      g_assert_cmpuint (check_same (f, "t.vhdx", "t.raw"), >, 0);
    }
}

/* Sixty terabytes and little in them: few extents, found at once. */
static void
test_large (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  H2kExtent extent;
  guint8 buffer[4096];
  guint count = 0;

  run (f, "qemu-img create -q -f vhdx -o block_size=64M t.vhdx 64T");
  run (f, "qemu-io -t unsafe -f vhdx -c 'write -P 0x33 40T 64k' t.vhdx");
  disk = open_vhdx (f, "t.vhdx");
  for (guint64 at = 0; at < disk->size; at += extent.length, count++)
    {
      g_assert_true (h2k_disk_extent (disk, at, disk->size, &extent, NULL));
      if (extent.kind == H2K_EXTENT_DATA)
        g_assert_cmpuint (at, ==, (guint64)40 << 40);
    }
  g_assert_cmpuint (count, <, 10);
  g_assert_true (h2k_disk_pread (disk, (guint64)40 << 40, sizeof buffer, buffer, NULL));
  g_assert_cmpuint (buffer[4095], ==, 0x33);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void
check_kinds (H2kDisk *disk, const H2kExtentKind *kinds, guint count, guint64 unit)
{
  for (guint i = 0; i < count; i++)
    for (guint64 at = i * unit; at < (i + 1) * unit;)
      {
        H2kExtent extent;
        g_assert_true (h2k_disk_extent (disk, at, (i + 1) * unit, &extent, NULL));
        g_assert_cmpint (extent.kind, ==, kinds[i]);
        at += extent.length;
      }
}

static void
test_states (Fixture *f, gconstpointer data)
{
  static const H2kExtentKind kinds[]
      = {H2K_EXTENT_DATA,        H2K_EXTENT_UNALLOCATED, H2K_EXTENT_ZERO,
         H2K_EXTENT_UNALLOCATED, H2K_EXTENT_UNALLOCATED, H2K_EXTENT_DATA};
  g_autoptr (Image) image = image_new (6 * MIB, MIB, 512, 0, 4);
  g_autoptr (H2kDisk) disk = NULL;
  g_autofree guint8 *got = g_malloc (6 * MIB);

  fill (image, AT_BLOCKS, 4 * MIB, 0xaa);
  set_block (image, 0, 6, 6);
  set_block (image, 1, 1, 4); /* undefined, but it still has a place */
  set_block (image, 2, 2, 4);
  set_block (image, 3, 3, 5); /* unmapped */
  set_block (image, 5, 6, 4);
  save_image (f, "t.vhdx", image);
  disk = open_vhdx (f, "t.vhdx");
  check_kinds (disk, kinds, G_N_ELEMENTS (kinds), MIB);
  g_assert_true (h2k_disk_pread (disk, 0, 6 * MIB, got, NULL));
  for (guint i = 0; i < 6; i++)
    g_assert_cmpuint (got[i * MIB + 77], ==, i == 0 || i == 5 ? 0xaa : 0);

  set_block (image, 1, 4, 0);
  save_image (f, "t.vhdx", image);
  expect_read_error (f, "t.vhdx", MIB, "block 1 is in state 4");
  set_block (image, 1, 5, 0);
  save_image (f, "t.vhdx", image);
  expect_read_error (f, "t.vhdx", MIB, "block 1 is in state 5");
  set_block (image, 1, 7, 5);
  save_image (f, "t.vhdx", image);
  expect_read_error (f, "t.vhdx", MIB, "block 1 is in state 7");
}

/* Entries of sector bitmap blocks stand between those of blocks: each 4096 blocks of 1 MiB with
 * sectors of 512 bytes, each 32768 with 4096. */
static void
test_large_sectors (Fixture *f, gconstpointer data)
{
  g_autoptr (Image) image = image_new (40 * GIB, MIB, 4096, 0, 4);
  g_autoptr (H2kDisk) disk = NULL;
  guint8 byte = 0;

  fill (image, AT_BLOCKS, MIB, 1);
  fill (image, AT_BLOCKS + MIB, MIB, 2);
  set_block (image, 32767, 6, 4);
  set_block (image, 32768, 6, 5);
  save_image (f, "t.vhdx", image);
  disk = open_vhdx (f, "t.vhdx");
  g_assert_cmpuint (disk->sector_size, ==, 4096);
  g_assert_true (h2k_disk_pread (disk, 32 * GIB - 1, 1, &byte, NULL));
  g_assert_cmpuint (byte, ==, 1);
  g_assert_true (h2k_disk_pread (disk, 32 * GIB, 1, &byte, NULL));
  g_assert_cmpuint (byte, ==, 2);
  g_assert_true (h2k_disk_pread (disk, 32 * GIB - MIB - 1, 1, &byte, NULL));
  g_assert_cmpuint (byte, ==, 0);
}

/* --- differencing images ---------------------------------------------------------------------- */

static const char *const plain_parent[]
    = {"parent_linkage", DATA_GUID_TEXT, "relative_path", ".\\base.vhdx", NULL};

/* base.vhdx: blocks of the bytes 0x11, 0x22, nothing, 0x44. */
static void
make_base (Fixture *f, guint32 sector_size)
{
  g_autoptr (Image) base = image_new (4 * MIB, MIB, sector_size, 0, 4);

  for (guint i = 0; i < 4; i++)
    fill (base, AT_BLOCKS + i * MIB, MIB, (guint8)(0x11 * (i + 1)));
  set_block (base, 0, 6, 4);
  set_block (base, 1, 6, 5);
  set_block (base, 3, 6, 7);
  save_image (f, "base.vhdx", base);
}

/* Random sectors are the child's, in one block, and all is as it should be in the others. */
static void
test_differencing (Fixture *f, gconstpointer data)
{
  static const H2kExtentKind kinds[] = {H2K_EXTENT_DATA, H2K_EXTENT_DATA, H2K_EXTENT_DATA,
                                        H2K_EXTENT_UNALLOCATED, H2K_EXTENT_UNALLOCATED};
  guint32 sector_size = GPOINTER_TO_UINT (data);
  g_autoptr (Image) child = image_new (5 * MIB, MIB, sector_size, 2, 8);
  g_autoptr (GRand) rand = g_rand_new_with_seed (3);
  g_autofree guint8 *expected = g_malloc0 (5 * MIB);
  g_autofree char *raw = path_of (f, "expected.raw"), *base = path_of (f, "base.vhdx");
  g_autoptr (H2kDisk) disk = NULL;
  guint64 bitmap = AT_BLOCKS + 3 * MIB;

  make_base (f, sector_size);
  set_parent (child, plain_parent);
  for (gsize i = 0; i < MIB; i++)
    child->data[AT_BLOCKS + i] = (guint8)g_rand_int_range (rand, 1, 256);
  fill (child, AT_BLOCKS + MIB, MIB, 0x99);
  set_block (child, 1, 7, 4); /* partially */
  set_block (child, 2, 6, 5); /* fully: its bits do not count */
  set_block (child, 3, 3, 0); /* unmapped: the parent must not show */
  le (child, bitmap_place (child, 0), (guint64)7 << 20 | 6, 8);
  memset (expected, 0x11, MIB);
  for (guint64 at = 0, n; at < MIB; at += n)
    {
      gboolean own = g_rand_boolean (rand);
      guint64 wanted = (1 + g_rand_int (rand) % (g_rand_boolean (rand) ? 3 : 60)) * sector_size;
      n = MIN (wanted, MIB - at);
      for (guint64 s = at; own && s < at + n; s += sector_size)
        child->data[bitmap + (MIB + s) / sector_size / 8]
            |= (guint8)(1 << (MIB + s) / sector_size % 8);
      if (own)
        memcpy (expected + MIB + at, child->data + AT_BLOCKS + at, n);
      else
        memset (expected + MIB + at, 0x22, n);
    }
  memset (expected + 2 * MIB, 0x99, MIB);
  save_image (f, "child.vhdx", child);
  g_assert_true (g_file_set_contents (raw, (char *)expected, 5 * MIB, NULL));
  check_same (f, "child.vhdx", "expected.raw");

  disk = open_vhdx (f, "child.vhdx");
  g_assert_cmpstr (disk->subformat, ==, "differencing");
  g_assert_cmpuint (disk->files->len, ==, 2);
  g_assert_cmpstr (disk->files->pdata[1], ==, base);
  check_kinds (disk, kinds, G_N_ELEMENTS (kinds), MIB);

  le (child, bitmap_place (child, 0), 0, 8);
  save_image (f, "child.vhdx", child);
  expect_read_error (f, "child.vhdx", MIB, "sector bitmap block 0 is missing");
  le (child, bitmap_place (child, 0), (guint64)12 << 20 | 6, 8);
  save_image (f, "child.vhdx", child);
  expect_read_error (f, "child.vhdx", MIB, "sector bitmap block 0 at 12582912 does not lie");
}

/* The second chunk has a bitmap of its own. */
static void
test_second_chunk (Fixture *f, gconstpointer data)
{
  g_autoptr (Image) child = image_new (5 * GIB, 256 * MIB, 512, 2, 260);
  guint64 bitmap = AT_BLOCKS + 256 * MIB;

  make_base (f, 512);
  set_parent (child, plain_parent);
  fill (child, AT_BLOCKS + 200 * MIB, MIB, 0x55);
  set_block (child, 16, 7, 4);
  le (child, bitmap_place (child, 1), (guint64)260 << 20 | 6, 8);
  fill (child, bitmap + 200 * MIB / 512 / 8, 100, 0xff); /* 800 sectors */
  save_image (f, "t.vhdx", child);
  {
    g_autoptr (H2kDisk) disk = open_vhdx (f, "t.vhdx");
    g_autofree guint8 *got = g_malloc (MIB);
    H2kExtent extent;
    g_assert_true (h2k_disk_pread (disk, 4 * GIB + 200 * MIB - 512, MIB, got, NULL));
    g_assert_true (h2k_is_zero (got, 512));
    g_assert_cmpuint (got[512], ==, 0x55);
    g_assert_cmpuint (got[512 + 800 * 512 - 1], ==, 0x55);
    g_assert_true (h2k_is_zero (got + 512 + 800 * 512, MIB - 801 * 512));
    g_assert_true (h2k_disk_extent (disk, 4 * MIB, disk->size, &extent, NULL));
    g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
    g_assert_cmpuint (extent.offset + extent.length, ==, 4 * GIB + 200 * MIB);
  }
}

static void
test_parents (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *pairs[9];
    H2kError code;
    const char *words; /* NULL: the parent is found */
  } cases[] = {
      {{"relative_path", "base.vhdx", "parent_linkage", DATA_GUID_TEXT}, 0, NULL},
      {{"relative_path", "sub\\base2.vhdx", "parent_linkage", DATA_GUID_TEXT}, 0, NULL},
      {{"relative_path", "..\\elsewhere\\base.vhdx", "parent_linkage", DATA_GUID_TEXT}, 0, NULL},
      {{"volume_path", "\\\\?\\Volume{26A2}\\x\\base.vhdx", "parent_linkage", DATA_GUID_TEXT},
       0,
       NULL},
      {{"relative_path", "gone.vhdx", "absolute_win32_path", "\\\\?\\d:\\vms\\base.vhdx",
        "parent_linkage", DATA_GUID_TEXT},
       0,
       NULL},
      {{"relative_path", "base.vhdx", "parent_linkage2", DATA_GUID_TEXT, "parent_linkage",
        "{00000000-0000-0000-0000-000000000001}"},
       0,
       NULL},
      {{"relative_path", "base.vhdx", "parent_linkage", "{00000000-0000-0000-0000-000000000001}"},
       H2K_ERROR_FORMAT,
       "whose DataWriteGuid is {00000000-0000-0000-0000-000000000001}, but that of"},
      {{"relative_path", "gone.vhdx", "parent_linkage", DATA_GUID_TEXT},
       H2K_ERROR_SOURCE,
       "its parent \"gone.vhdx\" is missing"},
      {{"relative_path", "..\\outside.vhdx", "parent_linkage", DATA_GUID_TEXT},
       H2K_ERROR_SOURCE,
       "is missing"},
      {{"relative_path", "link.vhdx", "parent_linkage", DATA_GUID_TEXT},
       H2K_ERROR_SOURCE,
       "is missing"},
      {{"relative_path", "sub", "parent_linkage", DATA_GUID_TEXT}, H2K_ERROR_SOURCE, "is missing"},
      {{"absolute_win32_path", "/etc/passwd", "parent_linkage", DATA_GUID_TEXT},
       H2K_ERROR_SOURCE,
       "is missing"},
      {{"relative_path", "t.vhdx", "parent_linkage", DATA_GUID_TEXT},
       H2K_ERROR_FORMAT,
       "comes back to this file"},
      {{"relative_path", "large.vhdx", "parent_linkage", DATA_GUID_TEXT},
       H2K_ERROR_FORMAT,
       "sectors of 512 bytes and its parent of 4096"},
      {{"relative_path", "raw.img", "parent_linkage", DATA_GUID_TEXT},
       H2K_ERROR_FORMAT,
       "raw.img: is not a VHDX image"},
      {{"relative_path", "base.vhdx"}, H2K_ERROR_FORMAT, "what its parent contains"},
      {{"parent_linkage", DATA_GUID_TEXT}, H2K_ERROR_FORMAT, "where its parent is"},
      {{"relative_path", "base.vhdx", "relative_path", "b"},
       H2K_ERROR_FORMAT,
       "two entries \"relative_path\""},
  };
  g_autofree char *inner = path_of (f, "inner");
  g_autoptr (Image) large = image_new (MIB, MIB, 4096, 0, 0);

  make_base (f, 512);
  g_assert_cmpint (g_mkdir (inner, 0700), ==, 0);
  run (f, "sh -c 'cp base.vhdx outside.vhdx; mv base.vhdx inner; mkdir inner/sub; echo x > "
          "inner/raw.img; ln -s ../outside.vhdx inner/link.vhdx; cp outside.vhdx "
          "inner/sub/base2.vhdx'");
  save_image (f, "inner/large.vhdx", large);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (Image) child = image_new (4 * MIB, MIB, 512, 2, 0);
      guint8 byte = 0;

      set_parent (child, cases[i].pairs);
      save_image (f, "inner/t.vhdx", child);
      if (cases[i].words)
        expect_refusal (f, "inner/t.vhdx", NULL, cases[i].code, cases[i].words);
      else
        {
          g_autoptr (H2kDisk) disk = open_vhdx (f, "inner/t.vhdx");
          g_assert_true (h2k_disk_pread (disk, 3 * MIB, 1, &byte, NULL));
          g_assert_cmpuint (byte, ==, 0x44);
        }
    }
}

/* --- headers, regions, metadata --------------------------------------------------------------- */

/* Two headers tell two DataWriteGuids apart: which one counts shows in whether a child fits. */
static void
test_headers (Fixture *f, gconstpointer data)
{
  static const struct
  {
    guint64 first, second; /* sequence numbers; 0: damaged */
    guint current;         /* 0: none */
  } cases[] = {{1, 2, 2}, {2, 1, 1}, {0, 1, 2}, {1, 0, 1}, {7, 7, 0}, {0, 0, 0}};

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (Image) base = image_new (4 * MIB, MIB, 512, 0, 0);
      g_autoptr (Image) child = image_new (4 * MIB, MIB, 512, 2, 0);

      le (base, AT_HEADER1 + 8, cases[i].first, 8);
      le (base, AT_HEADER2 + 8, cases[i].second, 8);
      memset (base->data + (cases[i].current == 1 ? AT_HEADER2 : AT_HEADER1) + 32, 0xee, 16);
      seal (base);
      base->data[AT_HEADER1 + 4000] ^= cases[i].first == 0;
      base->data[AT_HEADER2 + 4000] ^= cases[i].second == 0;
      save_image (f, "base.vhdx", base);
      set_parent (child, plain_parent);
      save_image (f, "t.vhdx", child);
      was_said ("");
      if (cases[i].current)
        {
          g_autoptr (H2kDisk) disk = open_vhdx (f, "t.vhdx");
          g_assert_nonnull (disk->backing);
          g_assert_cmpint (was_said ("one of the two headers is damaged"), ==,
                           !cases[i].first || !cases[i].second);
        }
      else
        expect_refusal (f, "t.vhdx", NULL, H2K_ERROR_FORMAT,
                        cases[i].first ? "the same sequence number" : "both headers are damaged");
    }
}

/* Disk2vhd writes the same header twice. */
static void
test_equal_headers (Fixture *f, gconstpointer data)
{
  g_autoptr (Image) image = image_new (4 * MIB, MIB, 512, 0, 1);

  le (image, AT_HEADER1 + 8, 2, 8);
  seal (image);
  fill (image, AT_BLOCKS, MIB, 0x77);
  set_block (image, 0, 6, 4);
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0x77);
}

static void
test_region_copy (Fixture *f, gconstpointer data)
{
  g_autoptr (Image) image = image_new (4 * MIB, MIB, 512, 0, 1);

  fill (image, AT_BLOCKS, MIB, 0x77);
  set_block (image, 0, 6, 4);
  image->data[AT_REGIONS1 + 60000] ^= 1;
  was_said ("");
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0x77);
  g_assert_true (was_said ("the region table is damaged; its copy is used"));
  image->data[AT_REGIONS2 + 60000] ^= 1;
  save_image (f, "t.vhdx", image);
  expect_refusal (f, "t.vhdx", NULL, H2K_ERROR_FORMAT,
                  "both copies of the region table are damaged");
}

static void
test_bad_fields (Fixture *f, gconstpointer data)
{
  static const struct
  {
    guint64 offset, value;
    gsize size;
    H2kError code;
    const char *words;
  } bad[] = {
      {0, 0, 1, H2K_ERROR_FORMAT, "is not a VHDX image"},
      {AT_HEADER2 + 66, 2, 2, H2K_ERROR_UNSUPPORTED, "of version 2"},
      {AT_HEADER2 + 68, MIB + 1, 4, H2K_ERROR_FORMAT, "log's place"},
      {AT_HEADER2 + 72, 4096, 8, H2K_ERROR_FORMAT, "log's place"},
      {AT_HEADER2 + 72, 0, 8, H2K_ERROR_FORMAT, "log's place"},
      {AT_HEADER2 + 72, AT_BAT, 8, H2K_ERROR_FORMAT, "overlap"},
      {AT_REGIONS1 + 8, 2048, 4, H2K_ERROR_FORMAT, "region table has 2048 entries"},
      {AT_REGIONS1 + 8, 1, 4, H2K_ERROR_FORMAT, "the metadata region is missing"},
      {AT_REGIONS1 + 8, 0, 4, H2K_ERROR_FORMAT, "block allocation table's region is missing"},
      {AT_REGIONS1 + 16, 0, 1, H2K_ERROR_UNSUPPORTED, "{2dc27700-f623-4200-9d64-115e9bfd4a08}"},
      {AT_REGIONS1 + 32, 0, 8, H2K_ERROR_FORMAT, "impossible"},
      {AT_REGIONS1 + 32, AT_BAT + 512, 8, H2K_ERROR_FORMAT, "impossible"},
      {AT_REGIONS1 + 32, (guint64)0xfffffffffff << 20, 8, H2K_ERROR_FORMAT, "impossible"},
      {AT_REGIONS1 + 32, AT_METADATA, 8, H2K_ERROR_FORMAT, "overlap"},
      {AT_REGIONS1 + 32, 64 * MIB, 8, H2K_ERROR_FORMAT, "within the file (truncated?)"},
      {AT_REGIONS1 + 40, 0, 4, H2K_ERROR_FORMAT, "impossible"},
      {AT_REGIONS1 + 40, 0xfff00000, 4, H2K_ERROR_FORMAT, "within the file (truncated?)"},
      {AT_METADATA, 0, 1, H2K_ERROR_FORMAT, "metadata table is damaged"},
      {AT_METADATA + 10, 2048, 2, H2K_ERROR_FORMAT, "metadata table is damaged"},
      {AT_METADATA + 10, 4, 2, H2K_ERROR_FORMAT, "the physical sector size is missing"},
      {AT_METADATA + 32, 1, 1, H2K_ERROR_UNSUPPORTED, "{caa16701-fa36-4d43-b3b6-33f0aa44e76b}"},
      {AT_METADATA + 32 + 24, 5, 4, H2K_ERROR_UNSUPPORTED, "not known here"}, /* a user's item */
      {AT_METADATA + 48, 100, 4, H2K_ERROR_FORMAT, "not within its region"},
      {AT_METADATA + 48, MIB - 4, 4, H2K_ERROR_FORMAT, "not within its region"},
      {AT_METADATA + 48, 0xfffffff8, 4, H2K_ERROR_FORMAT, "not within its region"},
      {AT_METADATA + 52, 7, 4, H2K_ERROR_FORMAT, "too short"},
      {AT_METADATA + 52, MIB + 1, 4, H2K_ERROR_FORMAT, "not within its region"},
      {AT_METADATA + 65536, 512 * KIB, 4, H2K_ERROR_FORMAT, "blocks of 524288 bytes"},
      {AT_METADATA + 65536, 3 * MIB, 4, H2K_ERROR_FORMAT, "blocks of 3145728 bytes"},
      {AT_METADATA + 65536, 512 * MIB, 4, H2K_ERROR_FORMAT, "blocks of 536870912 bytes"},
      {AT_METADATA + 65540, 2, 4, H2K_ERROR_FORMAT, "does not say which"},
      {AT_METADATA + 65544, 0, 8, H2K_ERROR_FORMAT, "a disk of 0 bytes"},
      {AT_METADATA + 65544, 1000, 8, H2K_ERROR_FORMAT, "a disk of 1000 bytes"},
      {AT_METADATA + 65544, ((guint64)64 << 40) + 512, 8, H2K_ERROR_FORMAT, "impossible"},
      {AT_METADATA + 65544, (guint64)1 << 40, 8, H2K_ERROR_FORMAT, "has room for 131072 entries"},
      {AT_METADATA + 65568, 1024, 4, H2K_ERROR_FORMAT, "sectors of 1024 bytes"},
      {AT_METADATA + 65572, 0, 4, H2K_ERROR_FORMAT, "(physical: 0)"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (Image) image = image_new (4 * MIB, MIB, 512, 0, 0);

      le (image, bad[i].offset, bad[i].value, bad[i].size);
      seal (image);
      save_image (f, "t.vhdx", image);
      expect_refusal (f, "t.vhdx", NULL, bad[i].code, bad[i].words);
    }
}

/* What need not be understood is passed over. */
static void
test_optional_parts (Fixture *f, gconstpointer data)
{
  g_autoptr (Image) image = image_new (4 * MIB, MIB, 512, 0, 1);

  add_region (image, 2, "a region of ours", AT_BLOCKS);
  le (image, AT_REGIONS1 + 16 + 2 * 32 + 28, 0, 4);
  le (image, AT_REGIONS2 + 16 + 2 * 32 + 28, 0, 4);
  add_item (image, 5, 0, 0);
  memcpy (image->data + AT_METADATA + 32 + 5 * 32, "something a user", 16);
  le (image, AT_METADATA + 32 + 5 * 32 + 24, 1, 4);
  seal (image);
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0);
}

static void
test_bad_blocks (Fixture *f, gconstpointer data)
{
  static const struct
  {
    guint64 host;
    const char *words;
  } bad[] = {
      {0, "overlaps the headers"},
      {1, "overlaps the headers, the log"},
      {2, "overlaps"},
      {3, "overlaps"},
      {5, "(truncated?)"},
      {1000, "(truncated?)"},
      {0xfffffffffff, "(truncated?)"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (Image) image = image_new (4 * MIB, MIB, 512, 0, 1);
      set_block (image, 2, 6, bad[i].host);
      save_image (f, "t.vhdx", image);
      expect_read_error (f, "t.vhdx", 2 * MIB + 512, bad[i].words);
    }
}

static void
test_truncated (Fixture *f, gconstpointer data)
{
  static const gsize sizes[] = {0, 3, 8, 65536, 70000, 200000, 300000, 2500000, 3500000};
  g_autoptr (Image) image = image_new (4 * MIB, MIB, 512, 0, 1);

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      image->size = sizes[i];
      save_image (f, "t.vhdx", image);
      expect_refusal (f, "t.vhdx", NULL, H2K_ERROR_FORMAT, "");
    }
}

/* --- the log ---------------------------------------------------------------------------------- */

/* An image whose BAT is empty in the file; the log has its first sector, which puts block 0, all
 * 0x5a, into place. */
static Image *
make_logged (guint8 bat[4096])
{
  Image *image = image_new (4 * MIB, MIB, 512, 0, 2);

  fill (image, AT_BLOCKS, MIB, 0x5a);
  fill (image, AT_BLOCKS + MIB, MIB, 0xa5);
  set_block (image, 0, 6, 4);
  memcpy (bat, image->data + AT_BAT, 4096);
  memset (image->data + AT_BAT, 0, 4096);
  make_dirty (image);
  return image;
}

/* SECTOR with block 0 at MiB HOST instead. */
static const guint8 *
moved (const guint8 *sector, guint64 host)
{
  static guint8 copy[4096];
  guint64 entry = GUINT64_TO_LE (host << 20 | 6);

  memcpy (copy, sector, sizeof copy);
  memcpy (copy, &entry, 8);
  return copy;
}

static void
expect_damaged (Fixture *f, const Image *image, const char *words)
{
  save_image (f, "t.vhdx", image);
  expect_refusal (f, "t.vhdx", NULL, H2K_ERROR_FORMAT, words);
  expect_refusal (f, "t.vhdx", NULL, H2K_ERROR_FORMAT, "open it once in Hyper-V (Mount-VHD)");
}

static void
test_log (Fixture *f, gconstpointer data)
{
  guint8 bat[4096];
  g_autoptr (Image) image = make_logged (bat);
  g_autofree char *path = path_of (f, "t.vhdx");
  const Update update = {AT_BAT, bat, 0};

  log_write (image, &(LogEntry){0, 0, 5, image->size, image->size}, &update, 1);
  was_said ("");
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0x5a);
  g_assert_true (was_said ("log was replayed in memory"));

  /* The file stays as it is. */
  {
    g_autofree char *after = NULL;
    gsize size;
    g_assert_true (g_file_get_contents (path, &after, &size, NULL));
    g_assert_cmpmem (after, size, image->data, image->size);
  }
  /* QEMU replays it in the file, and sees the same. */
  run (f, "cp t.vhdx replayed.vhdx");
  run (f, "qemu-img check -q -r all replayed.vhdx");
  run (f, "qemu-img convert -O raw replayed.vhdx t.raw");
  g_assert_cmpuint (check_same (f, "t.vhdx", "t.raw"), ==, MIB);

  /* Without a GUID in the header it is not looked at. */
  was_said ("");
  memset (image->data + AT_HEADER2 + 48, 0, 16);
  seal (image);
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0);
  g_assert_false (was_said ("replayed"));
}

/* Each entry of a sequence counts, in order, and around the end of the ring; older ones do not. */
static void
test_log_sequence (Fixture *f, gconstpointer data)
{
  guint8 bat[4096];
  g_autoptr (Image) image = make_logged (bat);
  const Update first = {AT_BAT, bat, 0};
  Update later = {AT_BAT, moved (bat, 5), 0};
  guint64 size = image->size;
  guint32 next;

  /* An old sequence of its own, then one of two entries that wraps around. */
  log_write (image, &(LogEntry){0x40000, 0x40000, 90, size, size}, &first, 1);
  next = log_write (image, &(LogEntry){0xff000, 0xff000, 100, size, size}, &first, 1);
  g_assert_cmpuint (next, ==, 0x1000);
  next = log_write (image, &(LogEntry){next, 0xff000, 101, size, size}, &later, 1);
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0xa5);

  /* An update that had reached its place before the last one was logged is not made again: the
   * place may be something else's now. */
  log_write (image, &(LogEntry){0x1000, 0x1000, 101, size, size}, NULL, 0);
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0);

  /* The next entry is not the next in number: it does not belong to the sequence. */
  log_write (image, &(LogEntry){0x1000, 0xff000, 103, size, size}, &later, 1);
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0x5a);

  /* Damaged: likewise. */
  log_write (image, &(LogEntry){0x1000, 0xff000, 101, size, size}, &later, 1);
  log_sector (image, 0x2000)[2000] ^= 1;
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0x5a);

  /* With nothing complete but the old one, that is the newest. */
  log_sector (image, 0xff000)[9] ^= 1;
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0x5a);
}

/* Zeros over gigabytes, sectors into them, zeros over a part of that again: the last one wins. */
static void
test_log_zeros (Fixture *f, gconstpointer data)
{
  guint8 bat[4096], other[4096];
  g_autoptr (Image) image = make_logged (bat);
  const Update updates[] = {
      {AT_BLOCKS, NULL, 100 * GIB},    {AT_BLOCKS + 4096, other, 0},
      {AT_BLOCKS + 8192, other, 0},    {AT_BLOCKS + 16384, other, 0},
      {AT_BLOCKS + 8192, NULL, 4096},  {AT_BLOCKS + 16384, other, 0},
      {AT_BLOCKS + 50 * MIB, NULL, 0}, {AT_BAT, bat, 0},
      {AT_BAT, moved (bat, 4), 0},
  };
  static const guint8 expected[] = {0, 0x21, 0, 0, 0x21, 0};
  g_autoptr (H2kDisk) disk = NULL;
  g_autofree guint8 *got = g_malloc (MIB);
  H2kExtent extent;

  memset (other, 0x21, sizeof other);
  log_write (image, &(LogEntry){0, 0, 1, image->size, image->size}, updates,
             G_N_ELEMENTS (updates));
  g_assert_cmpuint (byte_at (f, image, 0), ==, 0);
  disk = open_vhdx (f, "t.vhdx");
  g_assert_true (h2k_disk_pread (disk, 0, MIB, got, NULL));
  for (guint i = 0; i < G_N_ELEMENTS (expected); i++)
    for (guint k = 0; k < 4096; k++)
      g_assert_cmpuint (got[i * 4096 + k], ==, expected[i]);
  g_assert_true (h2k_is_zero (got + 6 * 4096, MIB - 6 * 4096));
  g_assert_true (h2k_disk_extent (disk, 0, disk->size, &extent, NULL));
  g_assert_cmpint (extent.kind, ==, H2K_EXTENT_UNALLOCATED);
  g_assert_cmpuint (extent.length, ==, 4096);
}

/* A file that was to grow, and one that lost its end. */
static void
test_log_sizes (Fixture *f, gconstpointer data)
{
  guint8 bat[4096];
  g_autoptr (Image) image = make_logged (bat);
  const Update update = {AT_BAT, moved (bat, 6), 0};
  guint64 size = image->size;

  /* Block 0 lies behind the end of the file, which LastFileOffset moves. */
  log_write (image, &(LogEntry){0, 0, 1, size, size + MIB}, &update, 1);
  g_assert_cmpuint (byte_at (f, image, 5), ==, 0);
  log_write (image, &(LogEntry){0, 0, 1, size, size}, &update, 1);
  save_image (f, "t.vhdx", image);
  expect_read_error (f, "t.vhdx", 0, "(truncated?)");

  log_write (image, &(LogEntry){0, 0, 1, size + MIB, size}, &update, 1);
  expect_damaged (f, image, "the file is truncated, it had 7340032 bytes and has 6291456");
}

/* Random sequences of entries with random updates, wherever in the ring, give what making the
 * updates in the file gives. */
static void
test_log_random (Fixture *f, gconstpointer data)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (17);

  for (guint round = 0; round < 12; round++)
    {
      guint8 bat[4096];
      g_autoptr (Image) image = make_logged (bat), made = make_logged (bat);
      guint count = (guint)g_rand_int_range (rand, 1, 5);
      guint32 start = (guint32)g_rand_int_range (rand, 0, 256) * 4096, at = start;
      guint64 sequence = ((guint64)g_rand_int (rand) << 20) + 1;

      memset (made->data + AT_HEADER2 + 48, 0, 16);
      seal (made);
      for (guint i = 0; i < count; i++)
        {
          Update updates[150];
          guint n = (guint)g_rand_int_range (rand, 0, round % 2 ? 149 : 10);
          static guint8 sectors[150][4096];

          for (guint k = 0; k < n; k++)
            {
              guint64 place = AT_BLOCKS + (guint64)g_rand_int_range (rand, 0, 60) * 4096;
              guint64 zeros = (guint64)g_rand_int_range (rand, 0, 20) * 4096;
              gboolean has_data = g_rand_int (rand) % 4 == 0;
              for (guint b = 0; b < 4096; b++)
                sectors[k][b] = (guint8)g_rand_int (rand);
              updates[k] = (Update){place, has_data ? sectors[k] : NULL, zeros};
              if (has_data)
                memcpy (made->data + place, sectors[k], 4096);
              else
                memset (made->data + place, 0, zeros);
            }
          if (i == count - 1)
            {
              updates[n++] = (Update){AT_BAT, bat, 0};
              memcpy (made->data + AT_BAT, bat, 4096);
            }
          at = log_write (image, &(LogEntry){at, start, sequence + i, image->size, image->size},
                          updates, n);
        }
      save_image (f, "made.vhdx", made);
      save_image (f, "t.vhdx", image);
      run (f, "qemu-img convert -O raw made.vhdx t.raw");
      g_assert_cmpuint (check_same (f, "t.vhdx", "t.raw"), >, 0);
    }
}

static void
test_bad_logs (Fixture *f, gconstpointer data)
{
  static const struct
  {
    guint64 offset, value; /* in the log */
    gsize size;
  } bad[] = {
      {0, 0, 1},
      {8, 0, 4},
      {8, 4096, 4},
      {8, 8191, 4},
      {8, 2 * MIB, 4},
      {8, 0x100000, 4}, /* far more than it holds */
      {12, 4096, 4},
      {12, 1, 4},
      {12, 0xfffff000, 4},
      {16, 0, 8},
      {24, 2, 4},
      {24, 0xffffffff, 4},
      {32, 0, 1},
      {56, (guint64)1 << 63, 8},
      {64, 0, 1}, /* the descriptor */
      {80, 1, 1}, /* its place */
      {80, G_MAXUINT64 - 4095, 8},
      {88, 6, 8},   /* its number */
      {4096, 0, 1}, /* the data */
      {4100, 1, 1},
      {8188, 0, 1},
  };
  guint8 bat[4096];
  const Update update = {AT_BAT, bat, 0};

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (Image) image = make_logged (bat);
      guint32 length;

      log_write (image, &(LogEntry){0, 0, 5, image->size, image->size}, &update, 1);
      le (image, AT_LOG + bad[i].offset, bad[i].value, bad[i].size);
      length = h2k_le32 (image->data + AT_LOG + 8);
      if (length >= 4096 && length <= MIB && length % 4096 == 0)
        le (image, AT_LOG + 4, crc (image->data + AT_LOG, length), 4);
      expect_damaged (f, image, "no complete sequence of entries");
    }
  {
    g_autoptr (Image) image = make_logged (bat);
    log_write (image, &(LogEntry){0, 0, 5, image->size, image->size}, &update, 1);
    image->data[AT_LOG + 4] ^= 1; /* the checksum */
    expect_damaged (f, image, "no complete sequence of entries (0 are valid)");
    le (image, AT_HEADER2 + 72, 64 * MIB, 8);
    seal (image);
    expect_damaged (f, image, "does not lie within the file");
    le (image, AT_HEADER2 + 64, 1, 2);
    seal (image);
    save_image (f, "t.vhdx", image);
    expect_refusal (f, "t.vhdx", NULL, H2K_ERROR_UNSUPPORTED, "its log of version 1");
  }
}

/* --- threads ---------------------------------------------------------------------------------- */

static gpointer
read_randomly (gpointer data)
{
  H2kDisk *disk = data;
  g_autoptr (GRand) rand = g_rand_new_with_seed (GPOINTER_TO_UINT (g_thread_self ()));
  g_autofree guint8 *got = g_malloc (MIB);

  for (guint i = 0; i < 400; i++)
    {
      guint64 block = g_rand_int (rand) % 4, offset = g_rand_int (rand) % MIB;
      gsize length = 1 + g_rand_int (rand) % (MIB - offset);
      g_assert_true (h2k_disk_pread (disk, block * MIB + offset, length, got, NULL));
      g_assert_cmpuint (got[0], ==, block == 2 ? 0 : 0x11 * (block + 1));
      g_assert_cmpuint (got[length - 1], ==, got[0]);
    }
  return NULL;
}

static void
test_threads (Fixture *f, gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  GThread *threads[4];

  make_base (f, 512);
  disk = open_vhdx (f, "base.vhdx");
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new ("reader", read_randomly, disk);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
}

/* --- real samples ----------------------------------------------------------------------------- */

/* The SHA-256 that the table of samples gives the sample at PATH; NULL: none. */
static char *
expected_sum (const char *testdata, const char *path)
{
  g_autofree char *oracle = g_build_filename (testdata, "oracle.tsv", NULL), *table = NULL;
  g_auto (GStrv) lines = NULL;

  if (!g_file_get_contents (oracle, &table, NULL, NULL))
    return NULL;
  lines = g_strsplit (table, "\n", -1);
  for (guint i = 0; lines[i]; i++)
    {
      g_auto (GStrv) fields = g_strsplit (lines[i], "\t", -1);
      if (g_strv_length (fields) >= 4 && g_str_equal (fields[0], path))
        return g_strdup (fields[3]);
    }
  return NULL;
}

static char *
checksum (H2kDisk *disk)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  g_autofree guint8 *buffer = g_malloc (MIB);
  g_autoptr (GError) error = NULL;

  for (guint64 at = 0; at < disk->size; at += MIB)
    {
      gsize n = (gsize)MIN (MIB, disk->size - at);
      h2k_disk_pread (disk, at, n, buffer, &error);
      g_assert_no_error (error);
      g_checksum_update (sum, buffer, (gssize)n);
    }
  return g_strdup (g_checksum_get_string (sum));
}

/* Small ones by their SHA-256; of larger ones the data, against what QEMU makes of a copy, whose
 * log it has to write first. */
static void
test_sample (Fixture *f, gconstpointer data)
{
  const char *sample = data, *testdata = g_getenv ("H2K_TESTDATA");
  g_autofree char *path = g_build_filename (testdata ? testdata : "", sample, NULL), *sum = NULL;
  g_autofree char *found = NULL;
  g_autoptr (H2kDisk) disk = NULL;

  if (!testdata || !g_file_test (path, G_FILE_TEST_EXISTS))
    {
      g_test_skip ("H2K_TESTDATA does not name the folder of real samples");
      return;
    }
  run (f, "sh -c '%s -dc %s | dd of=t.vhdx bs=64k conv=sparse iflag=fullblock 2>/dev/null'",
       g_str_has_suffix (sample, ".gz") ? "gzip" : "bzip2", path);
  was_said ("");
  disk = open_vhdx (f, "t.vhdx");
  g_assert_cmpint (was_said ("log was replayed in memory"), ==,
                   strstr (sample, "dirtylog") != NULL);
  if (disk->size <= 300 * MIB)
    {
      sum = expected_sum (testdata, sample);
      found = checksum (disk);
      g_assert_cmpstr (found, ==, sum);
      return;
    }
  run (f, "cp --sparse=always t.vhdx replayed.vhdx");
  run (f, "qemu-img check -q -r all replayed.vhdx");
  run (f, "qemu-img convert -t unsafe -O raw replayed.vhdx t.raw");
  check_same (f, "t.vhdx", "t.raw");
}

static void
add (const char *path, void (*test) (Fixture *, gconstpointer))
{
  g_test_add (path, Fixture, NULL, set_up, test, tear_down);
}

static void
add_with (const char *path, gconstpointer data, void (*test) (Fixture *, gconstpointer))
{
  g_test_add (path, Fixture, data, set_up, test, tear_down);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  messages = g_string_new (NULL);
  g_log_set_writer_func (collect_message, NULL, NULL);
  add ("/vhdx/as-qemu/layouts", test_layouts);
  add ("/vhdx/large-and-sparse", test_large);
  add ("/vhdx/block-states", test_states);
  add ("/vhdx/sectors-of-4096", test_large_sectors);
  add_with ("/vhdx/differencing/512", GUINT_TO_POINTER (512), test_differencing);
  add_with ("/vhdx/differencing/4096", GUINT_TO_POINTER (4096), test_differencing);
  add ("/vhdx/differencing/second-chunk", test_second_chunk);
  add ("/vhdx/differencing/parents", test_parents);
  add ("/vhdx/headers/current-one", test_headers);
  add ("/vhdx/headers/equal-ones", test_equal_headers);
  add ("/vhdx/region-table-copy", test_region_copy);
  add ("/vhdx/optional-parts", test_optional_parts);
  add ("/vhdx/refused/fields", test_bad_fields);
  add ("/vhdx/refused/blocks", test_bad_blocks);
  add ("/vhdx/refused/truncated", test_truncated);
  add ("/vhdx/log/replayed", test_log);
  add ("/vhdx/log/active-sequence", test_log_sequence);
  add ("/vhdx/log/zeros", test_log_zeros);
  add ("/vhdx/log/file-sizes", test_log_sizes);
  add ("/vhdx/log/random-updates", test_log_random);
  add ("/vhdx/log/refused", test_bad_logs);
  add ("/vhdx/threads", test_threads);
  add_with ("/vhdx/sample/dirty-log", "vhd/qemu-iotests/iotest-dirtylog-10G-4M.vhdx.bz2",
            test_sample);
  add_with ("/vhdx/sample/dynamic", "vhd/qemu-iotests/iotest-dynamic-1G.vhdx.bz2", test_sample);
  add_with ("/vhdx/sample/disk2vhd", "vhd/qemu-iotests/test-disk2vhd.vhdx.bz2", test_sample);
  add_with ("/vhdx/sample/swap", "vhd/discutils/swap.vhdx.gz", test_sample);
  add_with ("/vhdx/sample/xfs5", "vhd/discutils/xfs5.vhdx.gz", test_sample);
  return g_test_run ();
}
