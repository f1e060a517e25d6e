/* luks.c - the headers of LUKS1 and LUKS2, and their key slots through libcryptsetup.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/luks.h"
#include "volume/keys.h"

#include <errno.h>
#include <json-glib/json-glib.h>
#include <libcryptsetup.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECTOR 512u

/* struct luks_phdr of LUKS1; big-endian */
enum
{
  L1_CIPHER = 8,
  L1_MODE = 40,
  L1_DATA_OFFSET = 104, /* sectors */
  L1_KEY_BYTES = 108,
  L1_UUID = 168,
  L1_SLOTS = 208,
  L1_LENGTH = 592,
  L1_NAME_LENGTH = 32,
  SLOT_LENGTH = 48,
  SLOT_COUNT = 8,
  SLOT_MATERIAL = 40, /* sectors */
  SLOT_STRIPES = 44,
};

/* struct luks2_hdr_disk; big-endian */
enum
{
  L2_SIZE = 8, /* bytes of one of the two copies, JSON included */
  L2_UUID = 168,
  L2_LENGTH = 4096,
};

/* What cryptsetup makes at most: two copies of 4 MiB and 128 MiB of key slots. */
#define L2_MIN_SIZE (16u << 10)
#define L2_MAX_SIZE (4u << 20)
#define L2_MAX_SLOTS (128u << 20)
#define MAX_JSON_DEPTH 16u

static gboolean
fail (H2kDisk *disk, H2kError code, GError **error, const char *why)
{
  g_set_error (error, H2K_ERROR, code, "%s: %s", disk->name, why);
  return FALSE;
}

static gboolean
damaged (H2kDisk *disk, GError **error, const char *what)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "%s: its LUKS header is damaged: %s",
               disk->name, what);
  return FALSE;
}

static void
copy_uuid (H2kLuksHeader *header, const guint8 *uuid)
{
  for (guint i = 0; i < 40 && (g_ascii_isxdigit (uuid[i]) || uuid[i] == '-'); i++)
    header->uuid[i] = (char)uuid[i];
}

/* --- LUKS1 -------------------------------------------------------------------------------------
 */

static char *
take_name (const guint8 *field)
{
  return g_strndup ((const char *)field, strnlen ((const char *)field, L1_NAME_LENGTH));
}

static gboolean
parse_luks1 (H2kDisk *disk, const guint8 *data, H2kLuksHeader *header, GError **error)
{
  g_autofree char *cipher = take_name (data + L1_CIPHER), *mode = take_name (data + L1_MODE);

  header->cipher = g_strdup_printf ("%s-%s", cipher, mode);
  header->key_bytes = h2k_be32 (data + L1_KEY_BYTES);
  header->data_offset = (guint64)h2k_be32 (data + L1_DATA_OFFSET) * SECTOR;
  header->sector_size = SECTOR;
  header->header_size = L1_LENGTH;
  if (header->key_bytes == 0 || header->key_bytes > 512)
    return damaged (disk, error, "the key's size");
  for (guint i = 0; i < SLOT_COUNT; i++)
    {
      const guint8 *slot = data + L1_SLOTS + i * SLOT_LENGTH;
      guint64 start = (guint64)h2k_be32 (slot + SLOT_MATERIAL) * SECTOR;
      guint64 length = (guint64)h2k_be32 (slot + SLOT_STRIPES) * header->key_bytes;
      header->header_size = MAX (header->header_size, start + length);
    }
  if (header->header_size > 64u << 20)
    return damaged (disk, error, "its key slots are too large");
  if (header->data_offset == 0)
    return fail (disk, H2K_ERROR_UNSUPPORTED, error,
                 "its LUKS header is of a container elsewhere (a detached header)");
  return TRUE;
}

/* --- LUKS2 -------------------------------------------------------------------------------------
 */

/* The parser of JSON recurses: what is nested deeper than any header is refused before it. */
static gboolean
is_shallow (const char *text)
{
  gboolean quoted = FALSE;
  guint depth = 0;

  for (; *text; text++)
    if (quoted)
      {
        if (*text == '\\' && text[1])
          text++;
        else if (*text == '"')
          quoted = FALSE;
      }
    else if (*text == '"')
      quoted = TRUE;
    else if ((*text == '{' || *text == '[') && ++depth > MAX_JSON_DEPTH)
      return FALSE;
    else if ((*text == '}' || *text == ']') && depth > 0)
      depth--;
  return TRUE;
}

static JsonObject *
member_object (JsonObject *object, const char *name)
{
  JsonNode *node = object ? json_object_get_member (object, name) : NULL;

  return node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static const char *
member_text (JsonObject *object, const char *name)
{
  JsonNode *node = object ? json_object_get_member (object, name) : NULL;

  return node && json_node_get_value_type (node) == G_TYPE_STRING ? json_node_get_string (node)
                                                                  : NULL;
}

/* Numbers that may be large are texts. */
static gboolean
member_number (JsonObject *object, const char *name, guint64 max, guint64 *value)
{
  const char *text = member_text (object, name);

  return text && g_ascii_string_to_unsigned (text, 10, 0, max, value, NULL);
}

/* What the user should be told to let finish, or cannot be done. */
static gboolean
check_requirements (H2kDisk *disk, JsonObject *config, GError **error)
{
  JsonObject *requirements = member_object (config, "requirements");
  JsonNode *node = requirements ? json_object_get_member (requirements, "mandatory") : NULL;
  JsonArray *list = node && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  g_autofree char *safe = NULL;
  JsonNode *first;

  if (!list || json_array_get_length (list) == 0)
    return TRUE;
  first = json_array_get_element (list, 0);
  safe = json_node_get_value_type (first) == G_TYPE_STRING
             ? h2k_escape_text (json_node_get_string (first), -1)
             : g_strdup ("?");
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: the LUKS container is in a state that cannot be read (%s): let a reencryption "
               "finish in the guest",
               disk->name, safe);
  return FALSE;
}

static gboolean
parse_segment (H2kDisk *disk, JsonObject *segment, H2kLuksHeader *header, GError **error)
{
  const char *type = member_text (segment, "type"), *cipher = member_text (segment, "encryption");
  const char *size = member_text (segment, "size");

  if (!type || strcmp (type, "crypt") != 0)
    return fail (disk, H2K_ERROR_UNSUPPORTED, error,
                 "the LUKS container is not encrypted by software alone (OPAL?), or not at all");
  if (json_object_has_member (segment, "integrity"))
    return fail (disk, H2K_ERROR_UNSUPPORTED, error,
                 "the LUKS container has integrity checksums (dm-integrity), which cannot be read");
  if (!cipher || !size || !member_number (segment, "offset", G_MAXINT64, &header->data_offset)
      || !member_number (segment, "iv_tweak", G_MAXINT64, &header->iv_offset)
      || (strcmp (size, "dynamic") != 0
          && !member_number (segment, "size", G_MAXINT64, &header->data_length)))
    return damaged (disk, error, "the description of its data");
  header->cipher = g_strdup (cipher);
  header->sector_size
      = (guint32)json_object_get_int_member_with_default (segment, "sector_size", SECTOR);
  return TRUE;
}

static gboolean
parse_json (H2kDisk *disk, const char *text, guint64 copy_size, H2kLuksHeader *header,
            GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonObject *root, *config, *segments;
  guint64 slots;

  if (!is_shallow (text) || !json_parser_load_from_data (parser, text, -1, NULL)
      || !json_parser_get_root (parser) || !JSON_NODE_HOLDS_OBJECT (json_parser_get_root (parser)))
    return damaged (disk, error, "its JSON area");
  root = json_node_get_object (json_parser_get_root (parser));
  config = member_object (root, "config");
  segments = member_object (root, "segments");
  if (!config || !segments || !member_number (config, "keyslots_size", L2_MAX_SLOTS, &slots))
    return damaged (disk, error, "its configuration");
  if (!check_requirements (disk, config, error))
    return FALSE;
  if (json_object_get_size (segments) != 1 || !member_object (segments, "0"))
    return fail (disk, H2K_ERROR_UNSUPPORTED, error,
                 "the LUKS container is being reencrypted: let that finish in the guest");
  header->header_size = 2 * copy_size + slots;
  return parse_segment (disk, member_object (segments, "0"), header, error);
}

static gboolean
parse_luks2 (H2kDisk *disk, const guint8 *data, H2kLuksHeader *header, GError **error)
{
  guint64 size = h2k_be64 (data + L2_SIZE);
  g_autofree char *text = NULL;

  if (size < L2_MIN_SIZE || size > L2_MAX_SIZE || size > disk->size)
    return damaged (disk, error, "its size");
  text = g_malloc0 (size - L2_LENGTH + 1);
  return h2k_disk_pread (disk, L2_LENGTH, (gsize)(size - L2_LENGTH), text, error)
         && parse_json (disk, text, size, header, error);
}

/* --- both --------------------------------------------------------------------------------------
 */

static gboolean
check_header (H2kDisk *disk, const H2kLuksHeader *header, GError **error)
{
  guint32 sector = header->sector_size;

  if (sector < SECTOR || sector > 4096 || (sector & (sector - 1)))
    return damaged (disk, error, "the size of its sectors");
  if (header->header_size > disk->size || header->data_offset >= disk->size
      || header->data_length > disk->size - header->data_offset)
    return damaged (disk, error, "its data do not fit the volume");
  if ((disk->size - header->data_offset) / sector == 0 || header->data_length % sector
      || header->data_offset % SECTOR)
    return damaged (disk, error, "its data are no whole sectors");
  return TRUE;
}

H2kLuksHeader *
h2k_luks_header_read (H2kDisk *disk, GError **error)
{
  g_autoptr (H2kLuksHeader) header = g_new0 (H2kLuksHeader, 1);
  guint8 data[L1_LENGTH];
  gboolean ok;

  if (disk->size < sizeof data)
    {
      fail (disk, H2K_ERROR_FILESYSTEM, error, "it is too small for a LUKS header");
      return NULL;
    }
  if (!h2k_disk_pread (disk, 0, sizeof data, data, error))
    return NULL;
  header->version = h2k_be16 (data + 6);
  if (memcmp (data, "LUKS\xba\xbe", 6) != 0 || header->version < 1 || header->version > 2)
    {
      fail (disk, H2K_ERROR_FILESYSTEM, error, "it has no LUKS header of version 1 or 2");
      return NULL;
    }
  copy_uuid (header, data + L1_UUID);
  ok = header->version == 1 ? parse_luks1 (disk, data, header, error)
                            : parse_luks2 (disk, data, header, error);
  return ok && check_header (disk, header, error) ? g_steal_pointer (&header) : NULL;
}

void
h2k_luks_header_free (H2kLuksHeader *header)
{
  if (!header)
    return;
  g_free (header->cipher);
  g_free (header);
}

/* --- key slots ---------------------------------------------------------------------------------
 */

/* A private file with the header and the key slots, sparse, as large as the volume: libcryptsetup
 * compares. -1 and an error, or the descriptor. */
static int
copy_header (H2kDisk *disk, const H2kLuksHeader *header, GError **error)
{
  g_autofree guint8 *buffer = g_malloc (65536);
  int fd = memfd_create ("hyper2kvm-luks", MFD_CLOEXEC), failure = 0;
  gboolean ok = fd >= 0 && ftruncate (fd, (off_t)disk->size) == 0;

  if (!ok)
    h2k_set_errno (error, H2K_ERROR_FAILED, errno, "cannot make a copy of the LUKS header");
  for (guint64 at = 0; ok && at < header->header_size;)
    {
      gsize n = (gsize)MIN (65536, header->header_size - at);
      ok = h2k_disk_pread (disk, at, n, buffer, error);
      if (ok && !h2k_is_zero (buffer, n))
        failure = h2k_pwrite_full (fd, buffer, n, at);
      if (failure)
        h2k_set_errno (error, H2K_ERROR_FAILED, failure, "cannot make a copy of the LUKS header");
      ok = ok && !failure;
      at += n;
    }
  if (ok)
    return fd;
  if (fd >= 0)
    close (fd);
  return -1;
}

static void
log_message (int level, const char *message, void *data)
{
  g_autofree char *safe = g_strchomp (h2k_escape_text (message, -1));

  g_debug ("libcryptsetup: %s", safe);
}

static GBytes *
try_secrets (struct crypt_device *device, H2kDisk *disk, GPtrArray *secrets, GError **error)
{
  int size = crypt_get_volume_key_size (device), result = -EPERM;
  guint8 *data;
  g_autoptr (GBytes) key = h2k_secret_new ((gsize)MAX (size, 0), &data);
  gsize key_size = 0;

  for (guint i = 0; size > 0 && i < secrets->len && result < 0; i++)
    {
      gsize length;
      const char *passphrase = g_bytes_get_data (secrets->pdata[i], &length);

      key_size = (gsize)size;
      result = crypt_volume_key_get (device, CRYPT_ANY_SLOT, (char *)data, &key_size, passphrase,
                                     length);
      if (result < 0 && result != -EPERM && result != -ENOENT)
        break;
    }
  if (result >= 0)
    return g_bytes_new_from_bytes (key, 0, MIN (key_size, (gsize)size));
  if (result != -EPERM && result != -ENOENT)
    h2k_set_errno (error, result == -ENOMEM ? H2K_ERROR_UNSUPPORTED : H2K_ERROR_TOOL, -result,
                   "%s: libcryptsetup cannot open a key slot (does it need more memory than "
                   "there is, or a cipher that it lacks?)",
                   disk->name);
  return NULL;
}

GBytes *
h2k_luks_unlock (H2kDisk *disk, const H2kLuksHeader *header, GPtrArray *secrets, GError **error)
{
  int fd = copy_header (disk, header, error), result;
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  struct crypt_device *device = NULL;
  GBytes *key = NULL;

  if (fd < 0)
    return NULL;
  result = crypt_init (&device, path);
  if (result >= 0)
    {
      crypt_set_log_callback (device, log_message, NULL);
      result = crypt_load (device, header->version == 1 ? CRYPT_LUKS1 : CRYPT_LUKS2, NULL);
    }
  if (result >= 0)
    key = try_secrets (device, disk, secrets, error);
  else
    h2k_set_errno (error, H2K_ERROR_FILESYSTEM, -result,
                   "%s: libcryptsetup does not take its LUKS header", disk->name);
  crypt_free (device);
  close (fd);
  return key;
}
