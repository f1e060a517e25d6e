/* test-ntfs-check.c - the check of NTFS volumes: what ntfs-3g and Windows wrote is in order, and
 * each kind of damage is found and named.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include "fs/bits.h"
#include "fs/check.h"
#include "fs/ntfs.h"
#include "fs/ntfs-attr.h"
#include "fs/ntfs-node.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* --- volumes ---------------------------------------------------------------------------------- */

typedef struct
{
  const char *options; /* of mkntfs */
  guint64 size;
} Config;

static const Config configs[] = {
    {"-c 512", 48 << 20},
    {"-c 4096", 64 << 20},
    {"-c 65536", 128 << 20},
    {"-s 4096 -c 4096", 64 << 20},
};

static gboolean
mount_new (const Config *config)
{
  g_setenv ("LC_ALL", "C.UTF-8", TRUE);
  if (!image_have ("mkntfs") || !image_have ("ntfs-3g") || !image_have ("ntfsresize")
      || !image_have ("ntfsfix"))
    return FALSE;
  if (geteuid () != 0 || access ("/dev/fuse", R_OK | W_OK) != 0)
    {
      g_test_skip ("mounting by ntfs-3g takes root and /dev/fuse");
      return FALSE;
    }
  image_must_run ("rm -f @/image");
  image_must_run ("truncate -s %" G_GUINT64_FORMAT " @/image", config->size);
  image_must_run ("mkntfs -F -q -Q -p 2048 -H 255 -S 63 %s @/image", config->options);
  image_must_run ("mkdir -p @/mnt");
  if (image_run (NULL, "ntfs-3g @/image @/mnt -o streams_interface=windows,compression") != 0)
    {
      g_test_skip ("nothing can be mounted by ntfs-3g here");
      return FALSE;
    }
  return TRUE;
}

static void
put (const char *path, gsize size, guint fill)
{
  g_autofree char *host = g_build_filename (image_dir (), "mnt", path, NULL);
  g_autofree char *data = g_malloc (MAX (size, 1));

  for (gsize i = 0; i < size; i++)
    data[i] = (char)(fill + i / 512);
  g_assert_true (
      g_file_set_contents_full (host, data, (gssize)size, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

/* Many names in one directory, among them those that Unicode, case and length make interesting. */
static void
fill_directory (guint n)
{
  image_must_run ("mkdir -p @/mnt/Windows/System32");
  for (guint i = 0; i < n; i++)
    {
      g_autofree char *path
          = g_strdup_printf ("Windows/System32/%s %u \303\204 with a long name %u.dll",
                             i % 2 ? "Driver" : "dRIVER", i * 7919 % n, i);
      put (path, i % 5 * 700, i);
    }
}

/* A file of so many pieces, with holes between them, that it needs an attribute list. */
static void
fill_pieces (void)
{
  g_autofree char *path = g_build_filename (image_dir (), "mnt", "pieces", NULL);
  int fd = open (path, O_WRONLY | O_CREAT, 0644);
  static const char block[1024] = "piece";

  for (guint i = 0; i < 400; i++)
    g_assert_cmpint (pwrite (fd, block, sizeof block, i * 131072), ==, sizeof block);
  close (fd);
}

static void
fill_odd (void)
{
  guint32 compressed = GUINT32_TO_LE (0x800);
  g_autofree char *packed = g_build_filename (image_dir (), "mnt", "packed", NULL);
  g_autofree char *dos = g_build_filename (image_dir (), "mnt", "A long file name", NULL);

  image_must_run ("mkdir @/mnt/packed");
  g_assert_cmpint (lsetxattr (packed, "system.ntfs_attrib", &compressed, 4, 0), ==, 0);
  put ("packed/file", 200000, 1);
  put ("A long file name", 100, 1);
  lsetxattr (dos, "system.ntfs_dos_name", "ALONGF~1", 8, 0);
  put ("A long file name:stream", 100000, 1);
  image_must_run ("ln -s Windows @/mnt/link");
  for (guint i = 0; i < 60; i++)
    image_must_run ("ln @/mnt/pieces @/mnt/Windows/another_name_of_the_same_file_%u", i);
  put ("a", 100, 1);
  put ("large", 300000, 7);
  put ("other", 300000, 8);
}

/* The volume with all of these, unmounted. */
static gboolean
make (const Config *config)
{
  if (!mount_new (config))
    return FALSE;
  fill_directory (600);
  fill_pieces ();
  fill_odd ();
  image_must_run ("umount @/mnt");
  return TRUE;
}

/* --- the check -------------------------------------------------------------------------------- */

static H2kFsCheck *
check_fs (H2kFs *fs)
{
  H2kFsCheck *check = h2k_fs_check_new ();

  CHECK (h2k_fs_check (fs, check, NULL, &error));
  return check;
}

static void
assert_clean (H2kFs *fs)
{
  g_autoptr (H2kFsCheck) check = check_fs (fs);
  g_autofree char *found = h2k_fs_check_summary (check);

  g_assert_true (check->checked);
  g_assert_cmpstr (check->by, ==, "native");
  g_assert_cmpstr (found, ==, "");
  g_assert_cmpuint (check->corruptions, ==, 0);
  for (guint i = 0; i < check->remarks->len; i++)
    g_test_message ("%s", (char *)check->remarks->pdata[i]);
}

static void
test_clean (gconstpointer data)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (H2kFsCheck) check = NULL;

  if (!make (data))
    return;
  image_must_run ("ntfsresize -i -f @/image");
  disk = image_load ("image");
  fs = image_open_fs (disk, "ntfs");
  assert_clean (fs);
  check = check_fs (fs);
  g_assert_cmpuint (check->notes, ==, 0);
  CHECK (fs->ops->remove (fs, "/A long file name", &error));
  CHECK (fs->ops->remove (fs, "/a", &error));
  CHECK (fs->ops->truncate (fs, "/pieces", 5000, &error));
  CHECK (fs->ops->rename (fs, "/packed/file", "/file", &error));
  CHECK (fs->ops->write (fs, "/file", 10, "changed", 7, &error));
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (fs);
}

/* What Linux's driver ntfs3 wrote, of the test data of dfir_ntfs: it forgot the entry of a file. */
static void
test_orphan (void)
{
  const char *samples = g_getenv ("H2K_TESTDATA");
  g_autofree char *path
      = samples ? g_build_filename (samples, "disk/dfir_ntfs/test_data/ntfs3.raw.gz", NULL) : NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (H2kFsCheck) check = NULL;
  g_autofree char *found = NULL, *listed = NULL;

  if (!path || !g_file_test (path, G_FILE_TEST_EXISTS))
    {
      g_test_skip ("H2K_TESTDATA has no volume of ntfs3");
      return;
    }
  image_must_run ("bash -c 'zcat %s >@/image'", path);
  disk = image_load ("image");
  fs = image_open_fs (disk, "ntfs");
  check = check_fs (fs);
  found = h2k_fs_check_summary (check);
  g_assert_cmpstr (found, ==, "file 28 (/test/1.txt): 1 of its names stand in no directory");
  g_assert_cmpint (image_run (&listed, "ntfsls -f -p /test @/image"), ==, 0);
  g_assert_null (strstr (listed, "1.txt"));
}

/* --- damage ----------------------------------------------------------------------------------- */

typedef struct
{
  H2kDisk *disk;
  H2kFs *fs;
  NtfsVolume volume;
} Image;

static guint64
number_of (Image *image, const char *path)
{
  H2kStat st;

  CHECK (image->fs->ops->lstat (image->fs, path, &st, &error));
  return st.inode;
}

/* Where OFFSET of STREAM lies on the disk. */
static guint64
place (Image *image, const NtfsStream *stream, guint64 offset)
{
  guint64 vcn = offset / image->volume.cluster_size;

  for (guint i = 0; i < stream->runs->len; i++)
    {
      const NtfsRun *run = &g_array_index (stream->runs, NtfsRun, i);
      if (vcn >= run->vcn && vcn < run->vcn + run->count)
        return (run->lcn + vcn - run->vcn) * image->volume.cluster_size
               + offset % image->volume.cluster_size;
    }
  g_assert_not_reached ();
}

static NtfsStream *
stream_of (Image *image, guint64 number, guint32 type, const char *name)
{
  NtfsStream *stream = NULL;

  CHECK (h2k_ntfs_stream (&image->volume, number, 0, type, name, &stream, &error));
  g_assert_nonnull (stream);
  return stream;
}

/* Change LENGTH bytes at OFFSET of a stream. */
static void
poke (Image *image, guint64 number, guint32 type, const char *name, guint64 offset,
      gconstpointer data, gsize length)
{
  g_autoptr (NtfsStream) stream = stream_of (image, number, type, name);

  CHECK (h2k_disk_pwrite (image->disk, place (image, stream, offset), length, data, &error));
}

/* A record or an index block: at AT on the disk, SIZE bytes, put together; and back. */
static guint8 *
get_block (Image *image, guint64 at, gsize size, const char *magic)
{
  guint8 *block = g_malloc (size);

  CHECK (h2k_disk_pread (image->disk, at, size, block, &error));
  g_assert_true (h2k_ntfs_fix (block, size, magic));
  return block;
}

static void
put_block (Image *image, guint64 at, gsize size, guint8 *block)
{
  guint8 *array = block + h2k_le16 (block + 4);

  for (gsize i = 1; i <= size / 512; i++)
    {
      memcpy (array + i * 2, block + i * 512 - 2, 2);
      memcpy (block + i * 512 - 2, array, 2);
    }
  CHECK (h2k_disk_pwrite (image->disk, at, size, block, &error));
}

static guint64
record_at (Image *image, guint64 number)
{
  return place (image, image->volume.mft_stream, number * image->volume.record_size);
}

static guint8 *
get_record (Image *image, guint64 number)
{
  return get_block (image, record_at (image, number), image->volume.record_size, "FILE");
}

static void
put_record (Image *image, guint64 number, guint8 *record)
{
  put_block (image, record_at (image, number), image->volume.record_size, record);
}

static guint8 *
attribute (guint8 *record, guint32 type)
{
  guint8 *attr = record + h2k_le16 (record + 20);

  while (h2k_le32 (attr) != type)
    {
      g_assert_cmphex (h2k_le32 (attr), !=, NTFS_END);
      attr += h2k_le32 (attr + 4);
    }
  return attr;
}

#define DIRECTORY "/Windows/System32"

/* The record that has DIRECTORY's attribute of TYPE. */
static guint64
holder (Image *image, guint32 type)
{
  guint64 number = number_of (image, DIRECTORY);
  g_autofree guint8 *record = get_record (image, number);
  g_autoptr (GError) error = NULL;
  g_autoptr (NtfsStream) list = NULL;
  const guint8 *attr = record + h2k_le16 (record + 20);

  for (; h2k_le32 (attr) != NTFS_END; attr += h2k_le32 (attr + 4))
    if (h2k_le32 (attr) == type)
      return number;
  list = h2k_ntfs_read_list (&image->volume, attribute (record, NTFS_ATTRIBUTE_LIST), &error);
  g_assert_no_error (error);
  for (gsize at = 0; at < list->size; at = h2k_ntfs_list_end (list, at))
    if (h2k_le32 (list->value + at) == type)
      return NTFS_RECORD_NUMBER (h2k_le64 (list->value + at + 16));
  g_assert_not_reached ();
}

/* Its first index block. */
static guint64
index_at (Image *image)
{
  g_autoptr (NtfsStream) blocks
      = stream_of (image, number_of (image, DIRECTORY), NTFS_INDEX_ALLOCATION, "$I30");

  return place (image, blocks, 0);
}

static gboolean
open_sample (Image *image)
{
  if (image_run (NULL, "test -e @/sample") != 0)
    {
      if (!make (&configs[1]))
        return FALSE;
      image_must_run ("cp @/image @/sample");
    }
  image->disk = image_load ("sample");
  image->fs = image_open_fs (image->disk, "ntfs");
  CHECK (h2k_ntfs_open (&image->volume, image->disk, &error));
  return TRUE;
}

static void
close_sample (Image *image)
{
  h2k_ntfs_clear (&image->volume);
  h2k_fs_free (image->fs);
  h2k_disk_unref (image->disk);
}

/* --- what can be wrong ------------------------------------------------------------------------ */

static void
change_mirror (Image *image)
{
  poke (image, NTFS_FILE_MFTMIRR, NTFS_DATA, "", image->volume.record_size + 80, "\377", 1);
}

static void
tear_record (Image *image)
{
  guint64 at = record_at (image, number_of (image, "/large"));

  CHECK (h2k_disk_pwrite (image->disk, at + 510, 2, "xx", &error));
}

static void
erase_record (Image *image)
{
  guint64 at = record_at (image, number_of (image, "/large"));

  CHECK (h2k_disk_pwrite (image->disk, at, 4, "\0\0\0\0", &error));
}

/* Change one byte of a file's record. */
static void
change_record (Image *image, const char *path, guint32 type, guint at, guint8 value)
{
  guint64 number = number_of (image, path);
  g_autofree guint8 *record = get_record (image, number);

  (type ? attribute (record, type) : record)[at] = value;
  put_record (image, number, record);
}

static void
change_number (Image *image)
{
  change_record (image, "/large", 0, 44, 0xee);
}

static void
grow_attribute (Image *image)
{
  change_record (image, "/large", NTFS_DATA, 6, 1);
}

static void
unsort_attributes (Image *image)
{
  change_record (image, "/large", NTFS_STANDARD_INFORMATION, 0, 0x38);
}

static void
change_links (Image *image)
{
  change_record (image, "/large", 0, 18, 9);
}

static void
free_record (Image *image)
{
  change_record (image, "/large", 0, 22, 0);
}

/* ntfs-3g leaves them out. */
static void
change_security (Image *image)
{
  CHECK (image->fs->ops->create (image->fs, "/ours", S_IFREG | 0644, 0, 0, NULL, &error));
  CHECK (image->fs->ops->flush (image->fs, &error));
  change_record (image, "/ours", NTFS_STANDARD_INFORMATION, 24 + 54, 0x7f);
}

static void
grow_size (Image *image)
{
  change_record (image, "/large", NTFS_DATA, 54, 1);
}

static void
lengthen_run (Image *image)
{
  guint64 number = number_of (image, "/large");
  g_autofree guint8 *record = get_record (image, number);
  guint8 *attr = attribute (record, NTFS_DATA);

  attr[h2k_le16 (attr + 32) + 1]++;
  put_record (image, number, record);
}

static void
move_run (Image *image)
{
  guint64 number = number_of (image, "/large");
  g_autofree guint8 *record = get_record (image, number);
  guint8 *attr = attribute (record, NTFS_DATA), *run = attr + h2k_le16 (attr + 32);

  memset (run + 1 + (*run & 15), 0x7f, *run >> 4);
  put_record (image, number, record);
}

/* "other" gets the clusters of "large". */
static void
share_clusters (Image *image)
{
  g_autofree guint8 *large = get_record (image, number_of (image, "/large"));
  guint64 number = number_of (image, "/other");
  g_autofree guint8 *other = get_record (image, number);
  guint8 *from = attribute (large, NTFS_DATA), *to = attribute (other, NTFS_DATA);

  g_assert_cmpuint (h2k_le32 (from + 4), ==, h2k_le32 (to + 4));
  memcpy (to + h2k_le16 (to + 32), from + h2k_le16 (from + 32),
          h2k_le32 (to + 4) - h2k_le16 (to + 32));
  put_record (image, number, other);
}

/* The bit of the first cluster of "large". */
static void
free_cluster (Image *image)
{
  g_autoptr (NtfsStream) content = stream_of (image, number_of (image, "/large"), NTFS_DATA, "");
  g_autoptr (NtfsStream) bitmap = stream_of (image, NTFS_FILE_BITMAP, NTFS_DATA, "");
  guint64 lcn = g_array_index (content->runs, NtfsRun, 0).lcn;
  guint8 bits;

  CHECK (h2k_ntfs_read (&image->volume, bitmap, lcn / 8, 1, &bits, &error));
  bits &= (guint8) ~(1 << lcn % 8);
  poke (image, NTFS_FILE_BITMAP, NTFS_DATA, "", lcn / 8, &bits, 1);
}

static void
free_number (Image *image)
{
  guint64 number = number_of (image, "/large");
  g_autoptr (NtfsStream) bitmap = stream_of (image, NTFS_FILE_MFT, NTFS_BITMAP, "");
  guint8 bits;

  CHECK (h2k_ntfs_read (&image->volume, bitmap, number / 8, 1, &bits, &error));
  bits &= (guint8) ~(1 << number % 8);
  poke (image, NTFS_FILE_MFT, NTFS_BITMAP, "", number / 8, &bits, 1);
}

/* The first part of "pieces" in another record. */
static guint64
part_of (Image *image)
{
  guint64 number = number_of (image, "/pieces");
  g_autofree guint8 *record = get_record (image, number);
  g_autoptr (GError) error = NULL;
  g_autoptr (NtfsStream) list
      = h2k_ntfs_read_list (&image->volume, attribute (record, NTFS_ATTRIBUTE_LIST), &error);

  g_assert_no_error (error);
  for (gsize at = 0; at < list->size; at = h2k_ntfs_list_end (list, at))
    {
      guint64 part = NTFS_RECORD_NUMBER (h2k_le64 (list->value + at + 16));
      if (part != number)
        return part;
    }
  g_assert_not_reached ();
}

static void
change_instance (Image *image)
{
  guint64 number = part_of (image);
  g_autofree guint8 *record = get_record (image, number);

  record[h2k_le16 (record + 20) + 14] ^= 0x40;
  put_record (image, number, record);
}

static void
change_base (Image *image)
{
  guint64 number = part_of (image);
  g_autofree guint8 *record = get_record (image, number);
  guint64 base = GUINT64_TO_LE (number_of (image, "/large") | 1ull << 48);

  memcpy (record + 32, &base, 8);
  put_record (image, number, record);
}

static void
leave_base (Image *image)
{
  guint64 number = part_of (image);
  g_autofree guint8 *record = get_record (image, number);

  memset (record + 32, 0x77, 6);
  put_record (image, number, record);
}

static void
tear_block (Image *image)
{
  CHECK (h2k_disk_pwrite (image->disk, index_at (image) + 1022, 2, "xx", &error));
}

/* The entry number I of the first index block of the directory. */
static guint8 *
entry (guint8 *block, guint i)
{
  guint8 *p = block + H2K_NTFS_BLOCK_NODE + h2k_le32 (block + H2K_NTFS_BLOCK_NODE);

  for (; i; i--)
    p += h2k_le16 (p + 8);
  return p;
}

/* Change one byte of an entry of the directory. */
static void
change_entry (Image *image, guint i, guint at, guint8 value)
{
  guint64 where = index_at (image);
  g_autofree guint8 *block = get_block (image, where, 4096, "INDX");

  entry (block, i)[at] = value;
  put_block (image, where, 4096, block);
}

static void
unsort_entries (Image *image)
{
  change_entry (image, 2, H2K_NTFS_ENTRY_KEY + H2K_NTFS_NAME, 'z');
}

static void
rename_entry (Image *image)
{
  guint64 where = index_at (image);
  g_autofree guint8 *block = get_block (image, where, 4096, "INDX");
  guint8 *key = entry (block, 2) + H2K_NTFS_ENTRY_KEY;

  /* The last unit before the extension, which the order does not depend on. */
  key[H2K_NTFS_NAME + (key[H2K_NTFS_NAME_UNITS] - 1) * 2] = 'm';
  put_block (image, where, 4096, block);
}

static void
change_sequence (Image *image)
{
  change_entry (image, 2, 6, 0x55);
}

static void
lead_nowhere (Image *image)
{
  change_entry (image, 2, 4, 0x55);
}

static void
lead_to_free (Image *image)
{
  guint64 number = number_of (image, "/large");
  guint64 ref = GUINT64_TO_LE (number | 1ull << 48), where = index_at (image);
  g_autofree guint8 *block = get_block (image, where, 4096, "INDX");

  CHECK (image->fs->ops->remove (image->fs, "/large", &error));
  CHECK (image->fs->ops->flush (image->fs, &error));
  memcpy (entry (block, 2), &ref, 8);
  put_block (image, where, 4096, block);
}

static void
change_parent (Image *image)
{
  change_entry (image, 2, H2K_NTFS_ENTRY_KEY, 0x55);
}

static void
shorten_entry (Image *image)
{
  change_entry (image, 2, 8, 0x10);
}

static void
free_block (Image *image)
{
  guint64 number = holder (image, NTFS_BITMAP);
  g_autofree guint8 *record = get_record (image, number);
  guint8 *attr = attribute (record, NTFS_BITMAP);

  g_assert_cmpuint (attr[8], ==, 0);
  attr[h2k_le16 (attr + 20)] &= 0xfe;
  put_record (image, number, record);
}

/* The children of the first two entries of the root. */
static void
double_child (Image *image)
{
  guint64 number = holder (image, NTFS_INDEX_ROOT);
  g_autofree guint8 *record = get_record (image, number);
  guint8 *attr = attribute (record, NTFS_INDEX_ROOT);
  guint8 *node = attr + h2k_le16 (attr + 20) + H2K_NTFS_ROOT_NODE;
  guint8 *first = node + h2k_le32 (node), *second = first + h2k_le16 (first + 8);

  memcpy (second + h2k_le16 (second + 8) - 8, first + h2k_le16 (first + 8) - 8, 8);
  put_record (image, number, record);
}

static void
change_rule (Image *image)
{
  guint64 number = holder (image, NTFS_INDEX_ROOT);
  g_autofree guint8 *record = get_record (image, number);
  guint8 *attr = attribute (record, NTFS_INDEX_ROOT);

  attr[h2k_le16 (attr + 20) + 4] = 2;
  put_record (image, number, record);
}

static void
change_upcase (Image *image)
{
  poke (image, NTFS_FILE_UPCASE, NTFS_DATA, "", 'a' * 2, "b", 1);
}

static void
change_descriptor (Image *image)
{
  poke (image, NTFS_FILE_SECURE, NTFS_DATA, "$SDS", 40, "\125", 1);
}

static void
forget_descriptor (Image *image)
{
  poke (image, NTFS_FILE_SECURE, NTFS_DATA, "$SDS", 4, "\125", 1);
}

typedef struct
{
  const char *name;
  void (*damage) (Image *image);
  const char *said;
} Damage;

static const Damage damages[] = {
    {"a copy in $MFTMirr differs", change_mirror,
     "file 1 (/$MFTMirr): its copy of file record 1 is"},
    {"a record is torn", tear_record, "its file record is damaged"},
    {"a record is erased", erase_record, "its file record is none"},
    {"a record has another number", change_number,
     "(/large): its file record says that it is number"},
    {"an attribute is longer than its record", grow_attribute, "its file record is damaged"},
    {"attributes are not sorted", unsort_attributes, "(/large): its attributes are not sorted"},
    {"a link is counted that is not there", change_links, "(/large): it counts 9 names, but has 1"},
    {"a record is free that a name leads to", free_record, "leads to it, but it is not in use"},
    {"a security id is not there", change_security, "(/ours): its security descriptor 0x7f"},
    {"a file is longer than its clusters", grow_size,
     "(/large): the sizes of its attribute of type 0x80"},
    {"a run is longer than its stream", lengthen_run,
     "(/large): the runs of its attribute of type 0x80"},
    {"a run leads off the volume", move_run, "(/large): the runs of its attribute of type 0x80"},
    {"two files share clusters", share_clusters, ", which belongs to another file"},
    {"a file's cluster is free", free_cluster, "belong to a file, but are free in $Bitmap"},
    {"a file's record is free in the bitmap", free_number,
     "(/large): its file record is in use, but free"},
    {"a list and its attribute differ", change_instance, ": its attribute list and its attributes"},
    {"a part belongs to another file", change_base,
     "(/large): its attribute list and its attributes"},
    {"a part belongs to no file", leave_base,
     "it says that it is a part of a file that is not there"},
    {"an index block is torn", tear_block,
     "(/Windows/System32): its index $I30 has a damaged block"},
    {"entries are not sorted", unsort_entries, "(/Windows/System32): its index $I30 is not sorted"},
    {"an entry has another name", rename_entry, "its names, or the number of times"},
    {"an entry has another sequence number", change_sequence, "its names, or the number of times"},
    {"an entry leads behind the $MFT", lead_nowhere, "(/Windows/System32): an entry leads to file"},
    {"an entry leads to a free record", lead_to_free, "leads to it, but it is not in use"},
    {"an entry is of another directory", change_parent,
     "its index $I30 has entries that cannot be in it"},
    {"an entry is too short", shorten_entry, "its index $I30 has a damaged entry"},
    {"an index block is free", free_block, "its index $I30 has a block that is free in its bitmap"},
    {"a block is a child twice", double_child, "its index $I30 leads to a block twice"},
    {"an index is sorted by something else", change_rule,
     "its index $I30 is of something that is not known"},
    {"$UpCase is none", change_upcase, "file 10 (/$UpCase): it is no table of upper case"},
    {"a security descriptor is damaged", change_descriptor, "security descriptors are damaged"},
    {"a security descriptor has another id", forget_descriptor, "security descriptors are damaged"},
};

/* The check looks at the disk, not at what was read when the filesystem was opened: what cannot be
 * opened any more is damaged behind that. */
static void
test_damage (gconstpointer data)
{
  const Damage *damage = data;
  g_autoptr (H2kFsCheck) check = NULL;
  g_autofree char *found = NULL;
  Image image;

  if (!open_sample (&image))
    return;
  damage->damage (&image);
  check = check_fs (image.fs);
  found = h2k_fs_check_summary (check);
  g_test_message ("%s", found);
  g_assert_true (check->checked);
  g_assert_cmpuint (check->corruptions, >, 0);
  g_assert_nonnull (strstr (found, damage->said));
  close_sample (&image);
}

/* --- what is no fault ------------------------------------------------------------------------- */

/* Space and records that are marked as used, a copy of the boot sector that is old. */
static void
test_untidy (void)
{
  g_autoptr (H2kFsCheck) check = NULL;
  Image image;

  if (!open_sample (&image))
    return;
  poke (&image, NTFS_FILE_BITMAP, NTFS_DATA, "", image.volume.n_clusters / 8 - 2, "\377", 1);
  CHECK (h2k_disk_pwrite (image.disk, image.disk->size - 512 + 100, 1, "x", &error));
  check = check_fs (image.fs);
  g_assert_cmpuint (check->corruptions, ==, 0);
  g_assert_cmpuint (check->notes, ==, 2);
  g_assert_nonnull (strstr (check->remarks->pdata[0], "boot sector"));
  g_assert_nonnull (strstr (check->remarks->pdata[1], " clusters are marked as used"));
  close_sample (&image);
}

static void
test_log (void)
{
  g_autoptr (H2kFsCheck) check = NULL, forced = NULL;
  Image image;

  if (!open_sample (&image))
    return;
  poke (&image, NTFS_FILE_LOGFILE, NTFS_DATA, "", 0, "garbage", 7);
  tear_record (&image);
  h2k_fs_free (image.fs);
  image.fs = image_open_fs (image.disk, "ntfs");
  check = check_fs (image.fs);
  g_assert_false (check->checked);
  g_assert_nonnull (strstr (check->reason, "log"));
  g_assert_cmpuint (check->corruptions, ==, 0);
  CHECK (h2k_ntfs_force (image.fs, &error));
  forced = check_fs (image.fs);
  g_assert_false (forced->checked);
  close_sample (&image);
}

/* Where ntfsresize, which accounts for every cluster, complains, the check does, too. */
static void
test_peer (void)
{
  static void (*const all[]) (Image *) = {share_clusters, free_cluster, move_run};

  for (gsize i = 0; i < G_N_ELEMENTS (all); i++)
    {
      g_autoptr (H2kFsCheck) check = NULL;
      Image image;
      if (!open_sample (&image))
        return;
      all[i](&image);
      check = check_fs (image.fs);
      g_assert_cmpuint (check->corruptions, >, 0);
      image_save (image.disk, "check");
      g_assert_cmpint (image_run (NULL, "ntfsresize -i -f @/check"), !=, 0);
      close_sample (&image);
    }
}

/* The disk's errors are errors of the check. */
static void
test_failing_disk (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  Image image;
  guint n;

  if (!open_sample (&image))
    return;
  disk = faulty_disk_new (image.disk, 0);
  fs = image_open_fs (disk, "ntfs");
  n = faulty_disk_requests (disk);
  g_clear_pointer (&fs, h2k_fs_free);
  for (guint i = n + 1; i < n + 12; i++)
    {
      g_autoptr (H2kDisk) failing = faulty_disk_new (image.disk, i);
      g_autoptr (H2kFs) faulty = image_open_fs (failing, "ntfs");
      g_autoptr (H2kFsCheck) check = h2k_fs_check_new ();
      g_autoptr (GError) error = NULL;
      g_assert_false (h2k_fs_check (faulty, check, NULL, &error));
      g_assert_nonnull (error);
    }
  close_sample (&image);
}

static void
test_cancelled (void)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (H2kFsCheck) check = h2k_fs_check_new ();
  Image image;

  if (!open_sample (&image))
    return;
  g_cancellable_cancel (cancellable);
  FAILS (h2k_fs_check (image.fs, check, cancellable, &error), H2K_ERROR_CANCELLED);
  close_sample (&image);
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *name
          = g_strdup_printf ("/ntfs-check/what ntfs-3g wrote is clean, and stays so (mkntfs %s)",
                             configs[i].options);
      g_test_add_data_func (name, &configs[i], test_clean);
    }
  g_test_add_func ("/ntfs-check/a file that ntfs3 lost is found", test_orphan);
  for (gsize i = 0; i < G_N_ELEMENTS (damages); i++)
    {
      g_autofree char *name = g_strdup_printf ("/ntfs-check/%s", damages[i].name);
      g_test_add_data_func (name, &damages[i], test_damage);
    }
  g_test_add_func ("/ntfs-check/what is only untidy is a note", test_untidy);
  g_test_add_func ("/ntfs-check/a volume whose log holds changes is not judged", test_log);
  g_test_add_func ("/ntfs-check/what ntfsresize complains about is found", test_peer);
  g_test_add_func ("/ntfs-check/errors of the disk are errors", test_failing_disk);
  g_test_add_func ("/ntfs-check/it can be cancelled", test_cancelled);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
