/* bcd.c - reads a Boot Configuration Data store, and changes single elements of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/bcd.h"

#include "util/util.h"

#define MAX_OBJECTS 1024u
#define MAX_ELEMENTS 256u
#define MAX_ALL_ELEMENTS 16384u /* objects may share their keys in a hive that is made for it */
#define MAX_DEPTH 8u            /* of inheritance; Windows' own stores have three */

/* A device element. What follows depends on the device's type; a partition has 56 bytes. */
typedef struct __attribute__ ((packed))
{
  guint8 options[16]; /* the object with additional options, or zeros */
  guint32 type;
  guint32 flags;
  guint32 length; /* from TYPE on */
  guint32 reserved;
  union __attribute__ ((packed))
  {
    guint8 gpt[16]; /* the partition's GUID */
    struct __attribute__ ((packed))
    {
      guint64 offset; /* bytes */
      guint64 reserved;
    } mbr;
  } partition;
  guint32 disk_type;  /* 0: hard disk */
  guint32 table_type; /* 0: GPT, 1: MBR, 2: none */
  union __attribute__ ((packed))
  {
    guint8 gpt[16];
    guint32 mbr;
  } disk;
  guint8 spare[16];
} Device;
G_STATIC_ASSERT (sizeof (Device) == 88);

#define DEVICE_HEAD 32u /* bytes before PARTITION */
#define DEVICE_NEEDED (sizeof (Device) - 16)

enum
{
  TYPE_BOOT = 5,
  TYPE_PARTITION = 6,
  TYPE_LOCATE = 8,
};

enum
{
  TABLE_GPT = 0,
  TABLE_MBR = 1,
};

/* --- reading ---------------------------------------------------------------------------------- */

static void
element_free (gpointer data)
{
  H2kBcdElement *element = data;

  h2k_reg_value_free (element->value);
  g_free (element);
}

static void
object_free (gpointer data)
{
  H2kBcdObject *object = data;

  g_free (object->id);
  g_ptr_array_unref (object->elements);
  g_free (object);
}

void
h2k_bcd_free (H2kBcd *bcd)
{
  if (!bcd)
    return;
  g_ptr_array_unref (bcd->objects);
  g_free (bcd);
}

/* A key's name as an element's type: eight hexadecimal digits. */
static gboolean
parse_type (const char *name, guint32 *type)
{
  char *end;

  if (strlen (name) != 8 || !g_ascii_isxdigit (name[0]))
    return FALSE;
  *type = (guint32)g_ascii_strtoull (name, &end, 16);
  return *end == '\0';
}

static void
read_elements (H2kHive *hive, H2kBcdObject *object, const char *key, guint *budget)
{
  g_autofree char *below = g_strconcat (key, "\\Elements", NULL);
  g_autoptr (GPtrArray) names = h2k_hive_list_keys (hive, below);

  for (guint i = 0; names && i < MIN (names->len, MAX_ELEMENTS) && *budget > 0; i++, --*budget)
    {
      const char *name = names->pdata[i];
      g_autofree char *path = g_strconcat (below, "\\", name, NULL);
      guint32 type;
      H2kRegValue *value = parse_type (name, &type) ? h2k_hive_get (hive, path, "Element") : NULL;
      H2kBcdElement *element;

      if (!value)
        continue;
      element = g_new0 (H2kBcdElement, 1);
      element->type = type;
      element->value = value;
      g_ptr_array_add (object->elements, element);
    }
}

static H2kBcdObject *
read_object (H2kHive *hive, const char *id, guint *budget)
{
  H2kBcdObject *object = g_new0 (H2kBcdObject, 1);
  g_autofree char *key = g_strconcat ("Objects\\", id, NULL);
  g_autofree char *description = g_strconcat (key, "\\Description", NULL);

  object->id = g_strdup (id);
  object->elements = g_ptr_array_new_with_free_func (element_free);
  h2k_hive_get_dword (hive, description, "Type", &object->type);
  read_elements (hive, object, key, budget);
  return object;
}

H2kBcd *
h2k_bcd_read (H2kHive *hive, GError **error)
{
  g_autoptr (GPtrArray) ids = h2k_hive_list_keys (hive, "Objects");
  guint budget = MAX_ALL_ELEMENTS;
  H2kBcd *bcd;

  if (!ids || ids->len == 0)
    {
      g_autofree char *path = h2k_escape_text (h2k_hive_path (hive), -1);
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: a registry hive, but no boot configuration: it has no objects", path);
      return NULL;
    }
  bcd = g_new0 (H2kBcd, 1);
  bcd->objects = g_ptr_array_new_with_free_func (object_free);
  for (guint i = 0; i < MIN (ids->len, MAX_OBJECTS); i++)
    g_ptr_array_add (bcd->objects, read_object (hive, ids->pdata[i], &budget));
  return bcd;
}

const H2kBcdObject *
h2k_bcd_find (const H2kBcd *bcd, const char *id)
{
  for (guint i = 0; id && i < bcd->objects->len; i++)
    {
      const H2kBcdObject *object = bcd->objects->pdata[i];
      if (g_ascii_strcasecmp (object->id, id) == 0)
        return object;
    }
  return NULL;
}

static const H2kRegValue *
find_value (const H2kBcdObject *object, guint32 type)
{
  for (guint i = 0; i < object->elements->len; i++)
    {
      const H2kBcdElement *element = object->elements->pdata[i];
      if (element->type == type)
        return element->value;
    }
  return NULL;
}

char *
h2k_bcd_text (const H2kBcdObject *object, guint32 type)
{
  const H2kRegValue *value = find_value (object, type);

  return value ? h2k_reg_value_string (value) : NULL;
}

GStrv
h2k_bcd_objects (const H2kBcdObject *object, guint32 type)
{
  const H2kRegValue *value = find_value (object, type);

  return value ? h2k_reg_value_strings (value) : NULL;
}

/* Numbers have eight bytes, a yes or no one; some writers leave out what is zero. */
gboolean
h2k_bcd_number (const H2kBcdObject *object, guint32 type, guint64 *out)
{
  const H2kRegValue *value = find_value (object, type);
  gsize size = 0;
  const guint8 *data = value ? g_bytes_get_data (value->data, &size) : NULL;

  if (!data || value->type != H2K_REG_BINARY || size == 0 || size > 8)
    return FALSE;
  *out = 0;
  for (gsize i = size; i > 0; i--)
    *out = *out << 8 | data[i - 1];
  return TRUE;
}

static gboolean
is_set_within (const H2kBcd *bcd, const H2kBcdObject *object, guint32 type, guint depth,
               guint *budget)
{
  g_auto (GStrv) from = NULL;
  guint64 number;

  if (h2k_bcd_number (object, type, &number))
    return number != 0;
  if (depth == MAX_DEPTH)
    return FALSE;
  from = h2k_bcd_objects (object, H2K_BCD_INHERIT);
  for (guint i = 0; from && from[i] && *budget > 0; i++)
    {
      const H2kBcdObject *next = h2k_bcd_find (bcd, from[i]);

      (*budget)--;
      if (next && is_set_within (bcd, next, type, depth + 1, budget))
        return TRUE;
    }
  return FALSE;
}

gboolean
h2k_bcd_is_set (const H2kBcd *bcd, const H2kBcdObject *object, guint32 type)
{
  guint budget = 64; /* objects that are looked at */

  return is_set_within (bcd, object, type, 0, &budget);
}

/* --- devices ---------------------------------------------------------------------------------- */

static void
parse_partition (const Device *d, H2kBcdDevice *device)
{
  device->kind = H2K_BCD_OTHER;
  if (GUINT32_FROM_LE (d->disk_type) != 0)
    return;
  if (GUINT32_FROM_LE (d->table_type) == TABLE_GPT)
    {
      device->kind = H2K_BCD_GPT;
      memcpy (device->partition, d->partition.gpt, 16);
      memcpy (device->disk, d->disk.gpt, 16);
    }
  else if (GUINT32_FROM_LE (d->table_type) == TABLE_MBR)
    {
      device->kind = H2K_BCD_MBR;
      device->offset = GUINT64_FROM_LE (d->partition.mbr.offset);
      device->signature = GUINT32_FROM_LE (d->disk.mbr);
    }
}

H2kBcdDevice
h2k_bcd_device (const H2kBcdObject *object, guint32 type)
{
  const H2kRegValue *value = find_value (object, type);
  H2kBcdDevice device = {0};
  gsize size = 0;
  const guint8 *data = value ? g_bytes_get_data (value->data, &size) : NULL;
  Device d;

  if (!data || value->type != H2K_REG_BINARY || size < DEVICE_HEAD)
    return device;
  memset (&d, 0, sizeof d);
  memcpy (&d, data, MIN (size, sizeof d));
  switch (GUINT32_FROM_LE (d.type))
    {
    case TYPE_BOOT:
      device.kind = H2K_BCD_BOOT;
      break;
    case TYPE_LOCATE:
      device.kind = H2K_BCD_LOCATE;
      break;
    case TYPE_PARTITION:
      if (size >= DEVICE_NEEDED)
        parse_partition (&d, &device);
      break;
    default:
      device.kind = H2K_BCD_OTHER;
      break;
    }
  return device;
}

gboolean
h2k_bcd_device_equal (const H2kBcdDevice *a, const H2kBcdDevice *b)
{
  return a->kind == b->kind && a->signature == b->signature && a->offset == b->offset
         && memcmp (a->disk, b->disk, 16) == 0 && memcmp (a->partition, b->partition, 16) == 0;
}

/* As Windows writes it, the first three fields in its own byte order. */
static char *
guid_text (const guint8 *g)
{
  return g_strdup_printf ("%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", h2k_le32 (g),
                          h2k_le16 (g + 4), h2k_le16 (g + 6), g[8], g[9], g[10], g[11], g[12],
                          g[13], g[14], g[15]);
}

char *
h2k_bcd_device_to_text (const H2kBcdDevice *device)
{
  g_autofree char *disk = guid_text (device->disk), *partition = guid_text (device->partition);

  switch (device->kind)
    {
    case H2K_BCD_NO_DEVICE:
      return g_strdup ("none");
    case H2K_BCD_BOOT:
      return g_strdup ("boot");
    case H2K_BCD_MBR:
      return g_strdup_printf ("partition at %" G_GUINT64_FORMAT " of disk %08x", device->offset,
                              device->signature);
    case H2K_BCD_GPT:
      return g_strdup_printf ("partition %s of disk %s", partition, disk);
    case H2K_BCD_LOCATE:
      return g_strdup ("locate");
    case H2K_BCD_OTHER:
      break;
    }
  return g_strdup ("other");
}

/* --- changing --------------------------------------------------------------------------------- */

char *
h2k_bcd_key (const H2kBcdObject *object, guint32 type)
{
  return g_strdup_printf ("Objects\\%s\\Elements\\%08x", object->id, type);
}

gboolean
h2k_bcd_set_text (H2kHive *hive, const H2kBcdObject *object, guint32 type, const char *text,
                  GError **error)
{
  g_autofree char *key = h2k_bcd_key (object, type);
  g_autoptr (H2kRegValue) value = h2k_reg_string ("Element", H2K_REG_SZ, text);

  return h2k_hive_set (hive, key, value, error);
}

gboolean
h2k_bcd_set_device (H2kHive *hive, const H2kBcdObject *object, guint32 type,
                    const H2kBcdDevice *device, GError **error)
{
  g_autofree char *key = h2k_bcd_key (object, type);
  const H2kRegValue *old = find_value (object, type);
  g_autoptr (H2kRegValue) value = NULL;
  gsize size = 0;
  const guint8 *data = old ? g_bytes_get_data (old->data, &size) : NULL;
  Device d;

  g_return_val_if_fail (device->kind == H2K_BCD_MBR || device->kind == H2K_BCD_GPT, FALSE);
  memset (&d, 0, sizeof d);
  if (data && size >= sizeof d.options)
    memcpy (d.options, data, sizeof d.options);
  d.type = GUINT32_TO_LE (TYPE_PARTITION);
  d.length = GUINT32_TO_LE (sizeof d - sizeof d.options);
  if (device->kind == H2K_BCD_MBR)
    {
      d.table_type = GUINT32_TO_LE (TABLE_MBR);
      d.partition.mbr.offset = GUINT64_TO_LE (device->offset);
      d.disk.mbr = GUINT32_TO_LE (device->signature);
    }
  else
    {
      d.table_type = GUINT32_TO_LE (TABLE_GPT);
      memcpy (d.partition.gpt, device->partition, 16);
      memcpy (d.disk.gpt, device->disk, 16);
    }
  value = h2k_reg_binary ("Element", &d, sizeof d);
  return h2k_hive_set (hive, key, value, error);
}
