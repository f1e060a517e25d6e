/* iso9660.c - ECMA-119 (ISO 9660), the System Use Sharing Protocol and Rock Ridge Interchange
 * Protocol (IEEE P1281, P1282), and Microsoft's "Joliet Specification", with their names.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/iso9660.h"

#define SECTOR 2048u
/* The volume descriptors: from this sector on, and no more than so many are looked at. */
#define FIRST_DESCRIPTOR 16
#define MAX_DESCRIPTORS 64
/* Continuation areas that are followed for one entry. */
#define MAX_CONTINUATIONS 16

typedef struct
{
  guint8 length;
  guint8 extended_attributes; /* blocks before the data */
  guint8 extent[4];           /* block, little-endian; then again big-endian */
  guint8 extent_be[4];
  guint8 data_length[4];
  guint8 data_length_be[4];
  guint8 date[7];
  guint8 flags;          /* 0x19 */
  guint8 file_unit_size; /* of interleaved files */
  guint8 interleave_gap;
  guint8 volume[4];
  guint8 name_length; /* 0x20 */
} DirectoryRecord;
G_STATIC_ASSERT (sizeof (DirectoryRecord) == 33);

enum
{
  FLAG_DIRECTORY = 0x02,
  FLAG_MULTI_EXTENT = 0x80,
};

typedef struct
{
  guint8 type; /* 1 primary, 2 supplementary or enhanced, 255 the last */
  guint8 identifier[5];
  guint8 version;
  guint8 unused1[33];
  guint8 volume_identifier[32]; /* 40 */
  guint8 unused2[8];
  guint8 n_blocks[8];          /* 80: of the volume, little-endian; then again big-endian */
  guint8 escape_sequences[32]; /* 88 */
  guint8 unused3[8];
  guint8 block_size[2]; /* 128 */
  guint8 unused4[26];
  DirectoryRecord root; /* 156 */
  guint8 root_name;
  guint8 unused5[SECTOR - 190];
} VolumeDescriptor;
G_STATIC_ASSERT (sizeof (VolumeDescriptor) == SECTOR);

enum
{
  TYPE_PRIMARY = 1,
  TYPE_SUPPLEMENTARY = 2,
  TYPE_TERMINATOR = 255,
};

struct _H2kIso
{
  H2kFile *file;
  char *label;
  guint block_size;
  gboolean rock_ridge;
  gboolean joliet;
  guint skip; /* bytes before the system use entries of each record */
  H2kIsoEntry root;
};

static void
entry_free (H2kIsoEntry *entry)
{
  g_free (entry->name);
  g_free (entry);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kIsoEntry, entry_free)

/* --- Rock Ridge ------------------------------------------------------------------------------- */

/* The system use entries of a record, and of the areas they continue in. */
typedef struct
{
  const H2kIso *iso;
  const guint8 *at, *end;
  guint8 *area; /* the continuation area that AT is in; NULL: the record itself */
  guint n_areas;
  /* Where it continues when this area ends. */
  guint64 next_offset;
  guint32 next_length;
  GString *name;
  gboolean hidden; /* a link, relocated or compressed */
  gboolean has_sp; /* and what it says */
  guint skip;
} SystemUse;

static gboolean
next_area (SystemUse *use)
{
  guint64 offset = use->next_offset;
  guint32 length = use->next_length;

  use->next_length = 0;
  if (length == 0 || length > SECTOR || ++use->n_areas > MAX_CONTINUATIONS)
    return FALSE;
  g_free (use->area);
  use->area = g_malloc (length);
  if (!h2k_file_pread (use->iso->file, offset, length, use->area, NULL))
    return FALSE;
  use->at = use->area;
  use->end = use->area + length;
  return TRUE;
}

/* One entry: a signature of two letters, its length, its version, its data. */
static void
read_entry (SystemUse *use, guint16 signature, const guint8 *entry, guint length)
{
  switch (signature)
    {
    case 'S' << 8 | 'P':
      if (length >= 7 && entry[4] == 0xbe && entry[5] == 0xef)
        {
          use->has_sp = TRUE;
          use->skip = entry[6];
        }
      break;
    case 'N' << 8 | 'M':
      /* The flags say "." and ".."; those are known otherwise. */
      if (length > 5 && (entry[4] & 0x06) == 0)
        g_string_append_len (use->name, (const char *)entry + 5, length - 5);
      break;
    case 'C' << 8 | 'E':
      if (length >= 28)
        {
          use->next_offset
              = (guint64)h2k_le32 (entry + 4) * use->iso->block_size + h2k_le32 (entry + 12);
          use->next_length = h2k_le32 (entry + 20);
        }
      break;
    case 'S' << 8 | 'L':
    case 'C' << 8 | 'L':
    case 'R' << 8 | 'E':
    case 'Z' << 8 | 'F':
      use->hidden = TRUE;
      break;
    }
}

static void
read_system_use (SystemUse *use)
{
  do
    while (use->end - use->at >= 4)
      {
        guint length = use->at[2];
        guint16 signature = h2k_be16 (use->at);

        if (length < 4 || length > (gsize)(use->end - use->at) || signature == ('S' << 8 | 'T'))
          break;
        read_entry (use, signature, use->at, length);
        use->at += length;
      }
  while (next_area (use));
  g_clear_pointer (&use->area, g_free);
}

/* --- directory records ------------------------------------------------------------------------ */

/* The name of the record itself: "NETKVM.INF;1", or in UTF-16. */
static char *
plain_name (const H2kIso *iso, const guint8 *name, guint length)
{
  g_autofree char *text = NULL;
  char *semicolon;

  if (iso->joliet)
    {
      gunichar2 units[128];
      for (guint i = 0; i < length / 2; i++)
        units[i] = h2k_be16 (name + 2 * i);
      text = g_utf16_to_utf8 (units, length / 2, NULL, NULL, NULL);
    }
  else
    text = g_strndup ((const char *)name, length);
  semicolon = text ? strrchr (text, ';') : NULL;
  if (semicolon)
    *semicolon = '\0';
  if (semicolon && semicolon > text && semicolon[-1] == '.')
    semicolon[-1] = '\0';
  return g_steal_pointer (&text);
}

static gboolean
is_good_name (const char *name)
{
  return name && *name && strlen (name) < 256 && g_utf8_validate (name, -1, NULL)
         && !strchr (name, '/') && strcmp (name, ".") != 0 && strcmp (name, "..") != 0;
}

/* Where the data of RECORD lie. FALSE: not inside the image. */
static gboolean
locate (const H2kIso *iso, const DirectoryRecord *record, H2kIsoEntry *entry)
{
  guint64 block = (guint64)h2k_le32 (record->extent) + record->extended_attributes;

  entry->offset = block * iso->block_size;
  entry->size = h2k_le32 (record->data_length);
  entry->is_folder = (record->flags & FLAG_DIRECTORY) != 0;
  return entry->offset <= iso->file->size && entry->size <= iso->file->size - entry->offset;
}

/* The entry of RECORD, of which LENGTH bytes are there; NULL: it is left out. */
static H2kIsoEntry *
read_record (const H2kIso *iso, const DirectoryRecord *record, guint length)
{
  g_autoptr (H2kIsoEntry) entry = g_new0 (H2kIsoEntry, 1);
  const guint8 *name = (const guint8 *)(record + 1);
  guint name_length = record->name_length;
  guint use_at = sizeof *record + name_length + (name_length % 2 == 0) + iso->skip;

  /* The first two are the folder itself and the one above. */
  if (length < sizeof *record + name_length || (name_length == 1 && name[0] <= 1)
      || record->flags & FLAG_MULTI_EXTENT || record->file_unit_size != 0
      || record->interleave_gap != 0 || !locate (iso, record, entry))
    return NULL;
  if (iso->rock_ridge && use_at < length)
    {
      g_autoptr (GString) long_name = g_string_new (NULL);
      SystemUse use = {
          .iso = iso,
          .at = (const guint8 *)record + use_at,
          .end = (const guint8 *)record + length,
          .name = long_name,
      };
      read_system_use (&use);
      if (use.hidden)
        return NULL;
      if (long_name->len > 0)
        entry->name = g_strndup (long_name->str, long_name->len);
    }
  if (!entry->name)
    entry->name = plain_name (iso, name, name_length);
  return is_good_name (entry->name) ? g_steal_pointer (&entry) : NULL;
}

GPtrArray *
h2k_iso_list (H2kIso *iso, const H2kIsoEntry *folder, GError **error)
{
  g_autoptr (GPtrArray) list = g_ptr_array_new_with_free_func ((GDestroyNotify)entry_free);
  g_autofree guint8 *data = NULL;
  gsize at = 0;

  if (folder->size > H2K_ISO_MAX_FOLDER)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: a folder of %" G_GUINT64_FORMAT
                   " bytes: the ISO is damaged or was not made for drivers",
                   iso->file->name, folder->size);
      return NULL;
    }
  data = g_malloc (MAX (folder->size, 1));
  if (folder->size > 0 && !h2k_file_pread (iso->file, folder->offset, folder->size, data, error))
    return NULL;
  /* Records do not cross sectors: what is left of one is zeros. */
  while (at + sizeof (DirectoryRecord) <= folder->size)
    {
      const DirectoryRecord *record = (const DirectoryRecord *)(data + at);
      guint length = record->length;
      H2kIsoEntry *entry;

      if (length < sizeof *record || length > folder->size - at)
        {
          at = (at / SECTOR + 1) * SECTOR;
          continue;
        }
      entry = read_record (iso, record, length);
      if (entry)
        g_ptr_array_add (list, entry);
      at += length;
    }
  return g_steal_pointer (&list);
}

GBytes *
h2k_iso_read (H2kIso *iso, guint64 offset, guint64 size, GError **error)
{
  g_autofree guint8 *data = g_try_malloc (MAX (size, 1));

  if (!data)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "%s: no memory for a file of %" G_GUINT64_FORMAT " bytes", iso->file->name,
                   size);
      return NULL;
    }
  if (size > 0 && !h2k_file_pread (iso->file, offset, size, data, error))
    return NULL;
  return g_bytes_new_take (g_steal_pointer (&data), size);
}

/* --- opening ---------------------------------------------------------------------------------- */

static gboolean
is_joliet (const VolumeDescriptor *descriptor)
{
  static const char *const levels[] = {"%/@", "%/C", "%/E"};

  for (gsize i = 0; i < G_N_ELEMENTS (levels); i++)
    if (memcmp (descriptor->escape_sequences, levels[i], 3) == 0)
      return descriptor->type == TYPE_SUPPLEMENTARY;
  return FALSE;
}

/* Find the primary descriptor and that of Joliet. */
static gboolean
find_descriptors (H2kFile *file, VolumeDescriptor *primary, VolumeDescriptor *joliet)
{
  gboolean found = FALSE;

  joliet->type = 0;
  for (guint i = 0; i < MAX_DESCRIPTORS; i++)
    {
      VolumeDescriptor descriptor;
      guint64 offset = (FIRST_DESCRIPTOR + i) * (guint64)SECTOR;

      if (offset + SECTOR > file->size || !h2k_file_pread (file, offset, SECTOR, &descriptor, NULL)
          || memcmp (descriptor.identifier, "CD001", 5) != 0 || descriptor.type == TYPE_TERMINATOR)
        break;
      if (descriptor.type == TYPE_PRIMARY && !found)
        {
          *primary = descriptor;
          found = TRUE;
        }
      else if (is_joliet (&descriptor) && joliet->type == 0)
        *joliet = descriptor;
    }
  return found;
}

/* The root of DESCRIPTOR. FALSE: the descriptor is damaged. */
static gboolean
set_root (H2kIso *iso, const VolumeDescriptor *descriptor)
{
  iso->block_size = h2k_le16 (descriptor->block_size);
  return (iso->block_size == 512 || iso->block_size == 1024 || iso->block_size == 2048)
         && locate (iso, &descriptor->root, &iso->root) && iso->root.is_folder;
}

/* Rock Ridge announces itself in the first record of the top folder. */
static void
find_rock_ridge (H2kIso *iso)
{
  guint8 record[256] = {0};
  guint64 size = MIN (iso->root.size, sizeof record - 1);
  g_autoptr (GString) name = g_string_new (NULL);
  const guint start = sizeof (DirectoryRecord) + 1;
  SystemUse use = {.iso = iso, .name = name};

  if (size < start || !h2k_file_pread (iso->file, iso->root.offset, size, record, NULL)
      || record[0] < start || record[0] > size)
    return;
  use.at = record + start;
  use.end = record + record[0];
  read_system_use (&use);
  iso->rock_ridge = use.has_sp;
  iso->skip = use.skip;
}

/* An image that was not downloaded to its end has all of its folders, which come first: what it
 * lacks would look as if it had never been there. */
static gboolean
check_size (const H2kIso *iso, const VolumeDescriptor *primary, GError **error)
{
  guint64 size = (guint64)h2k_le32 (primary->n_blocks) * iso->block_size;

  if (size <= iso->file->size)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s is cut off: it has %" G_GUINT64_FORMAT " of the %" G_GUINT64_FORMAT
               " bytes of its volume; download or copy it again",
               iso->file->name, iso->file->size, size);
  return FALSE;
}

static char *
read_label (const VolumeDescriptor *descriptor)
{
  g_autofree char *label = g_strndup ((const char *)descriptor->volume_identifier,
                                      sizeof descriptor->volume_identifier);

  g_strchomp (label);
  return g_utf8_validate (label, -1, NULL) ? g_steal_pointer (&label) : g_strdup ("");
}

H2kIso *
h2k_iso_open (H2kFile *file, GError **error)
{
  g_autoptr (H2kIso) iso = g_new0 (H2kIso, 1);
  VolumeDescriptor primary, joliet;

  iso->file = h2k_file_ref (file);
  if (!find_descriptors (file, &primary, &joliet) || !set_root (iso, &primary))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s is not an ISO image, or a damaged one: it has no volume of ISO 9660",
                   file->name);
      return NULL;
    }
  if (!check_size (iso, &primary, error))
    return NULL;
  iso->label = read_label (&primary);
  find_rock_ridge (iso);
  if (!iso->rock_ridge && joliet.type != 0)
    {
      if (set_root (iso, &joliet))
        iso->joliet = TRUE;
      else
        set_root (iso, &primary);
    }
  return g_steal_pointer (&iso);
}

void
h2k_iso_free (H2kIso *iso)
{
  h2k_file_unref (iso->file);
  g_free (iso->label);
  g_free (iso);
}

const char *
h2k_iso_label (const H2kIso *iso)
{
  return iso->label;
}

const H2kIsoEntry *
h2k_iso_root (const H2kIso *iso)
{
  return &iso->root;
}
