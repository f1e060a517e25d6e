/* pe.c - the headers and the version resource of PE images: Microsoft's "PE Format", with its
 * names, and VS_VERSIONINFO.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/pe.h"

typedef struct
{
  guint8 e_magic[2]; /* "MZ" */
  guint8 unused[0x3a];
  guint8 e_lfanew[4]; /* 0x3c: offset of the PE signature */
} DosHeader;
G_STATIC_ASSERT (sizeof (DosHeader) == 0x40);

typedef struct
{
  guint8 signature[4]; /* "PE\0\0" */
  guint8 machine[2];
  guint8 number_of_sections[2];
  guint8 unused[12];
  guint8 size_of_optional_header[2]; /* 0x14 */
  guint8 characteristics[2];
} CoffHeader;
G_STATIC_ASSERT (sizeof (CoffHeader) == 0x18);

typedef struct
{
  guint8 name[8];
  guint8 virtual_size[4];
  guint8 virtual_address[4];
  guint8 size_of_raw_data[4];
  guint8 pointer_to_raw_data[4]; /* 0x14 */
  guint8 unused[16];
} SectionHeader;
G_STATIC_ASSERT (sizeof (SectionHeader) == 40);

typedef struct
{
  guint8 unused[12];
  guint8 number_of_named_entries[2]; /* 0x0c */
  guint8 number_of_id_entries[2];
} ResourceDirectory;
G_STATIC_ASSERT (sizeof (ResourceDirectory) == 16);

typedef struct
{
  guint8 id[4];     /* or the offset of a name, with the high bit */
  guint8 offset[4]; /* of a data entry; with the high bit of a directory */
} ResourceEntry;
G_STATIC_ASSERT (sizeof (ResourceEntry) == 8);

/* Of the optional header: the offsets that PE32 and PE32+ share, and where they part. */
enum
{
  OPTIONAL_SUBSYSTEM = 68,
  OPTIONAL_DIRECTORIES = 96,       /* PE32 */
  OPTIONAL_DIRECTORIES_PLUS = 112, /* PE32+ */
  MAGIC_PE32 = 0x10b,
  MAGIC_PE32_PLUS = 0x20b,
  DIRECTORY_RESOURCE = 2,
  DIRECTORY_SECURITY = 4, /* of signatures: the only one whose address is an offset in the file */
  SUBSYSTEM_NATIVE = 1,
  RT_VERSION = 16,
  MAX_SECTIONS = 96, /* the most that Windows loads */
};

/* VS_FIXEDFILEINFO, behind the key L"VS_VERSION_INFO" of the resource. */
enum
{
  VERSION_KEY = 6,
  VERSION_FIXED = 0x28,
  VERSION_SIZE = VERSION_FIXED + 52,
  VERSION_SIGNATURE = 0xfeef04bd,
};

static const struct
{
  guint16 machine;
  H2kWindowsArch arch;
} machines[] = {
    {0x014c, H2K_WINDOWS_X86},
    {0x8664, H2K_WINDOWS_AMD64},
    {0xaa64, H2K_WINDOWS_ARM64},
};

typedef struct
{
  const guint8 *data;
  gsize size;
  const guint8 *sections; /* SectionHeader[n_sections], inside */
  guint n_sections;
  guint32 resource_address, resource_size; /* the resource directory; 0: none */
  guint64 signature_end;                   /* 0: it is not signed */
} Image;

/* The LENGTH bytes at OFFSET; NULL: the file does not have them. */
static const guint8 *
at (const Image *image, guint64 offset, guint64 length)
{
  return offset <= image->size && length <= image->size - offset ? image->data + offset : NULL;
}

/* The LENGTH bytes that the image has at ADDRESS when it is loaded. */
static const guint8 *
at_address (const Image *image, guint64 address, guint64 length)
{
  for (guint i = 0; i < image->n_sections; i++)
    {
      const SectionHeader *section = (const SectionHeader *)image->sections + i;
      guint64 start = h2k_le32 (section->virtual_address);
      guint64 size = h2k_le32 (section->size_of_raw_data);

      if (address >= start && address - start < size && length <= size - (address - start))
        return at (image, h2k_le32 (section->pointer_to_raw_data) + (address - start), length);
    }
  return NULL;
}

/* --- resources -------------------------------------------------------------------------------- */

/* The LENGTH bytes at OFFSET of the resource directory. */
static const guint8 *
in_resources (const Image *image, guint64 offset, guint64 length)
{
  if (offset > image->resource_size || length > image->resource_size - offset)
    return NULL;
  return at_address (image, image->resource_address + offset, length);
}

/* The entry ID of the directory at OFFSET, or the first one when ID is 0: where it leads to, with
 * the high bit for a directory. FALSE: there is none. */
static gboolean
find_resource (const Image *image, guint32 offset, guint32 id, guint32 *to)
{
  const ResourceDirectory *directory
      = (const ResourceDirectory *)in_resources (image, offset, sizeof *directory);
  guint n;

  if (!directory)
    return FALSE;
  n = h2k_le16 (directory->number_of_named_entries) + h2k_le16 (directory->number_of_id_entries);
  for (guint i = 0; i < n; i++)
    {
      const ResourceEntry *entry = (const ResourceEntry *)in_resources (
          image, offset + sizeof *directory + (guint64)i * sizeof *entry, sizeof *entry);
      if (!entry)
        return FALSE;
      if (id == 0 || h2k_le32 (entry->id) == id)
        {
          *to = h2k_le32 (entry->offset);
          return TRUE;
        }
    }
  return FALSE;
}

static void
set_version (guint16 version[4], const guint8 *most, const guint8 *least)
{
  version[0] = (guint16)(h2k_le32 (most) >> 16);
  version[1] = (guint16)h2k_le32 (most);
  version[2] = (guint16)(h2k_le32 (least) >> 16);
  version[3] = (guint16)h2k_le32 (least);
}

/* The tree has three levels: the resource's type, its name and its language. */
static void
read_version (const Image *image, H2kPe *pe)
{
  static const guint32 high = 0x80000000;
  static const char key[] = "V\0S\0_\0V\0E\0R\0S\0I\0O\0N\0_\0I\0N\0F\0O\0\0";
  const guint8 *entry, *info;
  guint32 name, language, data;

  if (!find_resource (image, 0, RT_VERSION, &name) || !(name & high)
      || !find_resource (image, name & ~high, 0, &language) || !(language & high)
      || !find_resource (image, language & ~high, 0, &data) || data & high)
    return;
  entry = in_resources (image, data, 16);
  if (!entry || h2k_le32 (entry + 4) < VERSION_SIZE)
    return;
  info = at_address (image, h2k_le32 (entry), VERSION_SIZE);
  if (!info || memcmp (info + VERSION_KEY, key, sizeof key) != 0
      || h2k_le32 (info + VERSION_FIXED) != VERSION_SIGNATURE)
    return;
  pe->has_version = TRUE;
  set_version (pe->file_version, info + VERSION_FIXED + 8, info + VERSION_FIXED + 12);
  set_version (pe->product_version, info + VERSION_FIXED + 16, info + VERSION_FIXED + 20);
}

/* --- length ----------------------------------------------------------------------------------- */

/* Whether the file has all that its headers say. Where signatures are missing, Windows does not
 * load a driver either. */
static gboolean
is_whole (const Image *image)
{
  if (image->signature_end > image->size)
    return FALSE;
  for (guint i = 0; i < image->n_sections; i++)
    {
      const SectionHeader *section = (const SectionHeader *)image->sections + i;
      guint32 length = h2k_le32 (section->size_of_raw_data);

      if (length && !at (image, h2k_le32 (section->pointer_to_raw_data), length))
        return FALSE;
    }
  return TRUE;
}

/* --- headers ---------------------------------------------------------------------------------- */

/* What is wrong, or NULL. */
static const char *
read_optional_header (Image *image, guint64 offset, guint length, H2kPe *pe)
{
  const guint8 *header = at (image, offset, length);
  guint16 magic;
  guint directories, n;

  if (!header || length < OPTIONAL_SUBSYSTEM + 2)
    return "its headers are cut off";
  magic = h2k_le16 (header);
  if (magic != MAGIC_PE32 && magic != MAGIC_PE32_PLUS)
    return "its optional header is neither PE32 nor PE32+";
  pe->is_driver = h2k_le16 (header + OPTIONAL_SUBSYSTEM) == SUBSYSTEM_NATIVE;
  directories = magic == MAGIC_PE32 ? OPTIONAL_DIRECTORIES : OPTIONAL_DIRECTORIES_PLUS;
  n = length < directories ? 0 : (length - directories) / 8;
  if (n)
    n = MIN (n, h2k_le32 (header + directories - 4));
  if (n > DIRECTORY_RESOURCE)
    {
      image->resource_address = h2k_le32 (header + directories + 8 * DIRECTORY_RESOURCE);
      image->resource_size = h2k_le32 (header + directories + 8 * DIRECTORY_RESOURCE + 4);
    }
  if (n > DIRECTORY_SECURITY)
    image->signature_end = (guint64)h2k_le32 (header + directories + 8 * DIRECTORY_SECURITY)
                           + h2k_le32 (header + directories + 8 * DIRECTORY_SECURITY + 4);
  return NULL;
}

static const char *
read_headers (Image *image, H2kPe *pe)
{
  const DosHeader *dos = (const DosHeader *)at (image, 0, sizeof *dos);
  const CoffHeader *coff;
  guint64 offset;
  guint length;
  const char *wrong;

  if (!dos || memcmp (dos->e_magic, "MZ", 2) != 0)
    return "it does not begin with \"MZ\"";
  offset = h2k_le32 (dos->e_lfanew);
  coff = (const CoffHeader *)at (image, offset, sizeof *coff);
  if (!coff || memcmp (coff->signature, "PE\0\0", 4) != 0)
    return "it has no \"PE\" signature";
  pe->machine = h2k_le16 (coff->machine);
  length = h2k_le16 (coff->size_of_optional_header);
  offset += sizeof *coff;
  wrong = read_optional_header (image, offset, length, pe);
  if (wrong)
    return wrong;
  image->n_sections = h2k_le16 (coff->number_of_sections);
  image->sections
      = at (image, offset + length, (guint64)image->n_sections * sizeof (SectionHeader));
  return !image->sections || image->n_sections > MAX_SECTIONS ? "its table of sections is cut off"
                                                              : NULL;
}

gboolean
h2k_pe_parse (const void *data, gsize size, const char *name, H2kPe *pe, GError **error)
{
  Image image = {.data = data, .size = size};
  const char *wrong;

  *pe = (H2kPe){0};
  wrong = size > H2K_PE_MAX_SIZE ? "it is too large" : read_headers (&image, pe);
  if (wrong)
    {
      g_autofree char *safe = h2k_escape_text (name, -1);
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s: not a program or driver of Windows: %s",
                   safe, wrong);
      return FALSE;
    }
  for (gsize i = 0; i < G_N_ELEMENTS (machines); i++)
    if (machines[i].machine == pe->machine)
      {
        pe->has_arch = TRUE;
        pe->arch = machines[i].arch;
      }
  pe->is_whole = is_whole (&image);
  read_version (&image, pe);
  return TRUE;
}
