/* qcow2-header.c - the header of qcow2 images, versions 2 and 3, and its extensions.
 *
 * Follows docs/interop/qcow2.txt of QEMU. Extensions that are not known are skipped, as the
 * specification asks; incompatible features that are not known are refused by the name that the
 * image gives them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/qcow2.h"

#define set_corrupt(error, ...) h2k_set_corrupt (error, "qcow2", __VA_ARGS__)

#define EXTENSION_END 0u
#define EXTENSION_BACKING_FORMAT 0xe2792acau
#define EXTENSION_FEATURE_NAMES 0x6803f857u
#define EXTENSION_BITMAPS 0x23852875u
#define EXTENSION_DATA_FILE 0x44415441u
#define EXTENSION_LUKS 0x0537be77u

/* The head of a file: its first cluster, or all of a smaller file. */
typedef struct
{
  const char *name; /* the file's */
  const guint8 *data;
  gsize length;
  guint64 file_size;
  gboolean allow_corrupt;
} Head;

/* What the image itself calls an incompatible feature, for people. */
static char *
feature_name (const guint8 *table, gsize length, guint bit)
{
  for (; length >= 48; table += 48, length -= 48)
    if (table[0] == 0 && table[1] == bit)
      {
        g_autofree char *name = g_strndup ((const char *)table + 2, 46);
        g_autofree char *safe = h2k_escape_text (name, -1);
        return g_strdup_printf ("\"%s\" (bit %u)", safe, bit);
      }
  return g_strdup_printf ("bit %u", bit);
}

static gboolean
check_features (const H2kQcow2Header *header, const Head *head, const guint8 *names,
                gsize names_length, GError **error)
{
  guint64 known = H2K_QCOW2_DIRTY | H2K_QCOW2_CORRUPT | H2K_QCOW2_DATA_FILE
                  | H2K_QCOW2_COMPRESSION_TYPE | H2K_QCOW2_EXTENDED_L2;
  guint64 unknown = header->features & ~known;

  if (unknown)
    {
      g_autofree char *feature
          = feature_name (names, names_length, (guint)__builtin_ctzll (unknown));
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the qcow2 image uses the feature %s, which is not known here", head->name,
                   feature);
      return FALSE;
    }
  if ((header->features & H2K_QCOW2_CORRUPT) && !head->allow_corrupt)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: the qcow2 image is marked as corrupt; \"hyper2kvm check\" says what is "
                   "wrong; repair a copy of it with \"qemu-img check -r all\"",
                   head->name);
      return FALSE;
    }
  return TRUE;
}

static void
parse_bitmaps (H2kQcow2Header *header, const guint8 *data, gsize length)
{
  if (length < 24)
    return;
  header->bitmaps = h2k_be32 (data);
  header->bitmaps_size = h2k_be64 (data + 8);
  header->bitmaps_offset = h2k_be64 (data + 16);
}

/* Where the LUKS header is. */
static gboolean
parse_luks (H2kQcow2Header *header, const guint8 *data, gsize length, const char *name,
            GError **error)
{
  if (!header->encrypted || header->luks_length || length != 16)
    return set_corrupt (error, name, "the extension for encryption does not belong there");
  header->luks_offset = h2k_be64 (data);
  header->luks_length = h2k_be64 (data + 8);
  return TRUE;
}

static gboolean
check_luks (const H2kQcow2Header *header, const Head *head, GError **error)
{
  guint64 cluster = (guint64)1 << header->cluster_bits;

  if (!header->encrypted)
    return TRUE;
  if (header->luks_offset < cluster || header->luks_offset % cluster || header->luks_length == 0
      || header->luks_offset > head->file_size
      || header->luks_length > head->file_size - header->luks_offset)
    return set_corrupt (error, head->name,
                        "the LUKS header is not aligned or not within the file (truncated?)");
  if (header->luks_length <= H2K_QCOW2_MAX_LUKS && !(header->features & H2K_QCOW2_DATA_FILE))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s: the encrypted qcow2 image has %s",
               head->name,
               header->features & H2K_QCOW2_DATA_FILE ? "an external data file, which cannot be "
                                                        "read"
                                                      : "a LUKS header of more than 16 MiB");
  return FALSE;
}

/* The header extensions between START and END. */
static gboolean
parse_extensions (H2kQcow2Header *header, const Head *head, gsize start, gsize end, GError **error)
{
  const guint8 *names = NULL;
  gsize names_length = 0;

  while (end - start >= 8)
    {
      guint32 type = h2k_be32 (head->data + start), length = h2k_be32 (head->data + start + 4);
      const guint8 *data = head->data + start + 8;

      start += 8;
      if (type == EXTENSION_END)
        break;
      if (length > end - start)
        return set_corrupt (error, head->name, "a header extension is too long");
      if (type == EXTENSION_BACKING_FORMAT)
        {
          g_free (header->backing_format);
          header->backing_format = g_strndup ((const char *)data, length);
        }
      else if (type == EXTENSION_DATA_FILE)
        {
          g_free (header->data_name);
          header->data_name = g_strndup ((const char *)data, length);
        }
      else if (type == EXTENSION_LUKS && !parse_luks (header, data, length, head->name, error))
        return FALSE;
      else if (type == EXTENSION_BITMAPS)
        parse_bitmaps (header, data, length);
      else if (type == EXTENSION_FEATURE_NAMES)
        {
          names = data;
          names_length = length;
        }
      start += MIN (end - start, ((gsize)length + 7) / 8 * 8);
    }
  return check_features (header, head, names, names_length, error)
         && check_luks (header, head, error);
}

static gboolean
parse_backing (H2kQcow2Header *header, const Qcow2Header *raw, const Head *head, GError **error)
{
  guint64 offset = h2k_be64 (raw->backing_file_offset);
  guint32 size = h2k_be32 (raw->backing_file_size);

  if (offset == 0 || size == 0)
    return TRUE;
  if (size > 1023 || offset > head->length || size > head->length - offset)
    return set_corrupt (error, head->name,
                        "the backing file's name is not within the first cluster");
  header->backing_name = g_strndup ((const char *)head->data + offset, size);
  return TRUE;
}

/* What only version 3 has. */
static gboolean
parse_v3 (H2kQcow2Header *header, const Qcow2Header *raw, const char *name, gsize *header_length,
          GError **error)
{
  guint32 order = h2k_be32 (raw->refcount_order);
  guint8 type;

  *header_length = h2k_be32 (raw->header_length);
  if (*header_length < 104 || *header_length % 8
      || *header_length > (gsize)1 << header->cluster_bits)
    return set_corrupt (error, name, "the header's length is impossible");
  if (order > 6)
    return set_corrupt (error, name, "the width of the reference counts is impossible");
  header->refcount_bits = 1u << order;
  header->features = h2k_be64 (raw->incompatible_features);
  header->autoclear = h2k_be64 (raw->autoclear_features);
  type = *header_length > 104 ? raw->compression_type : 0;
  if ((type != 0) != !!(header->features & H2K_QCOW2_COMPRESSION_TYPE))
    return set_corrupt (error, name, "the compression type contradicts the features");
  if (type > 1)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the qcow2 image's compression type %u is not known here", name, type);
      return FALSE;
    }
  header->zstd = type == 1;
  if ((header->features & H2K_QCOW2_EXTENDED_L2)
      && ((guint64)1 << header->cluster_bits) / H2K_QCOW2_SUBCLUSTERS < 512)
    return set_corrupt (error, name, "clusters of 2^%u bytes are too small for subclusters",
                        header->cluster_bits);
  return TRUE;
}

static gboolean
check_version (const Qcow2Header *raw, const char *name, GError **error)
{
  guint32 version = h2k_be32 (raw->version), crypt = h2k_be32 (raw->crypt_method);
  g_autofree char *why = NULL;

  if (version == 1)
    why = g_strdup (
        "is of the old format qcow; convert it with \"qemu-img convert -f qcow\" first");
  else if (version != 2 && version != 3)
    why = g_strdup_printf ("is of version %u, which is not known here", version);
  else if (crypt && crypt != H2K_QCOW2_CRYPT_LUKS)
    why = g_strdup_printf ("is encrypted (%s); decrypt it with \"qemu-img convert\" first",
                           crypt == 1 ? "AES" : "method unknown");
  if (why)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s: the qcow2 image %s", name, why);
  return why == NULL;
}

static gboolean
parse_header (H2kQcow2Header *header, Head *head, GError **error)
{
  g_autofree Qcow2Header *raw = g_new0 (Qcow2Header, 1);
  gsize header_length = 72, backing;

  memcpy (raw, head->data, MIN (head->length, sizeof *raw));
  if (head->length < 72 || memcmp (raw->magic, "QFI\xfb", 4) != 0)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s: is not a qcow2 image", head->name);
      return FALSE;
    }
  if (!check_version (raw, head->name, error))
    return FALSE;
  header->version = h2k_be32 (raw->version);
  header->cluster_bits = h2k_be32 (raw->cluster_bits);
  header->refcount_bits = 16;
  header->size = h2k_be64 (raw->size);
  header->l1_offset = h2k_be64 (raw->l1_table_offset);
  header->l1_entries = h2k_be32 (raw->l1_size);
  header->refcount_table_offset = h2k_be64 (raw->refcount_table_offset);
  header->refcount_table_clusters = h2k_be32 (raw->refcount_table_clusters);
  header->encrypted = h2k_be32 (raw->crypt_method) == H2K_QCOW2_CRYPT_LUKS;
  header->snapshots = h2k_be32 (raw->nb_snapshots);
  header->snapshots_offset = h2k_be64 (raw->snapshots_offset);
  if (header->cluster_bits < H2K_QCOW2_MIN_CLUSTER_BITS
      || header->cluster_bits > H2K_QCOW2_MAX_CLUSTER_BITS)
    return set_corrupt (error, head->name, "clusters of 2^%u bytes are impossible",
                        header->cluster_bits);
  if (header->size < 512 || header->size > G_MAXINT64)
    return set_corrupt (error, head->name, "a disk of %" G_GUINT64_FORMAT " bytes is impossible",
                        header->size);
  if (header->version >= 3 && !parse_v3 (header, raw, head->name, &header_length, error))
    return FALSE;
  head->length = MIN (head->length, (gsize)1 << header->cluster_bits);
  if (head->length < header_length)
    return set_corrupt (error, head->name, "the file ends within the header");
  backing = (gsize)MIN (h2k_be64 (raw->backing_file_offset), head->length);
  return parse_extensions (header, head, header_length,
                           backing ? MAX (backing, header_length) : head->length, error)
         && parse_backing (header, raw, head, error);
}

gboolean
h2k_qcow2_header_read (H2kFile *file, gboolean allow_corrupt, H2kQcow2Header *header,
                       GError **error)
{
  gsize length = (gsize)MIN (file->size, (guint64)1 << H2K_QCOW2_MAX_CLUSTER_BITS);
  g_autofree guint8 *data = g_malloc (MAX (length, 1));
  Head head = {file->name, data, length, file->size, allow_corrupt};

  return h2k_file_pread (file, 0, length, data, error) && parse_header (header, &head, error);
}

void
h2k_qcow2_header_clear (H2kQcow2Header *header)
{
  g_free (header->backing_name);
  g_free (header->backing_format);
  g_free (header->data_name);
  *header = (H2kQcow2Header){0};
}
