/* luks.c - the headers of LUKS1 and LUKS2.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/luks.h"
#include "util/json.h"

#include <json-glib/json-glib.h>

#define SECTOR 512u

/* struct luks_phdr of LUKS1; big-endian */
enum
{
  L1_CIPHER = 8,
  L1_MODE = 40,
  L1_HASH = 72,
  L1_DATA_OFFSET = 104, /* sectors */
  L1_KEY_BYTES = 108,
  L1_DIGEST = 112,
  L1_DIGEST_SALT = 132,
  L1_DIGEST_ITERATIONS = 164,
  L1_UUID = 168,
  L1_SLOTS = 208,
  L1_LENGTH = 592,
  L1_NAME_LENGTH = 32,
  L1_SALT_LENGTH = 32,
  L1_DIGEST_LENGTH = 20,
  SLOT_LENGTH = 48,
  SLOT_COUNT = 8,
  SLOT_ITERATIONS = 4,
  SLOT_SALT = 8,
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
/* What cryptsetup makes of a key, always. */
#define MAX_STRIPES 4000u

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
  header->digest_iterations = h2k_be32 (data + L1_DIGEST_ITERATIONS);
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

/* What the check of a volume key costs, at most. */
static guint64
count_digest_iterations (JsonObject *root)
{
  JsonObject *digests = member_object (root, "digests");
  g_autoptr (GList) names = digests ? json_object_get_members (digests) : NULL;
  gint64 most = 0;

  for (GList *name = names; name; name = name->next)
    {
      JsonObject *digest = member_object (digests, name->data);
      gint64 n = digest ? json_object_get_int_member_with_default (digest, "iterations", 0) : 0;
      most = MAX (most, n < 0 ? G_MAXINT64 : n);
    }
  return (guint64)most;
}

static gboolean
parse_json (H2kDisk *disk, const char *text, guint64 copy_size, H2kLuksHeader *header,
            GError **error)
{
  g_autoptr (JsonNode) node = h2k_json_parse (text, strlen (text), NULL);
  JsonObject *root, *config, *segments;
  guint64 slots;

  if (!node || !JSON_NODE_HOLDS_OBJECT (node))
    return damaged (disk, error, "its JSON area");
  root = json_node_get_object (node);
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
  header->digest_iterations = count_digest_iterations (root);
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
  if (!h2k_disk_pread (disk, L2_LENGTH, (gsize)(size - L2_LENGTH), text, error)
      || !parse_json (disk, text, size, header, error))
    return FALSE;
  header->json = g_steal_pointer (&text);
  return TRUE;
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

char *
h2k_luks_identity (const H2kLuksHeader *header)
{
  return g_strconcat ("LUKS ", header->uuid, NULL);
}

void
h2k_luks_header_free (H2kLuksHeader *header)
{
  if (!header)
    return;
  g_free (header->cipher);
  g_free (header->json);
  g_free (header);
}

/* --- key slots ---------------------------------------------------------------------------------
 */

void
h2k_luks_slot_free (H2kLuksSlot *slot)
{
  if (!slot)
    return;
  g_free (slot->kdf);
  g_free (slot->hash);
  g_free (slot->cipher);
  g_free (slot->af_hash);
  g_free (slot->digest_hash);
  g_clear_pointer (&slot->salt, g_bytes_unref);
  g_clear_pointer (&slot->digest_salt, g_bytes_unref);
  g_clear_pointer (&slot->digest, g_bytes_unref);
  g_free (slot);
}

static gboolean
read_slot1 (H2kDisk *disk, const H2kLuksHeader *header, guint number, H2kLuksSlot *slot,
            GError **error)
{
  guint8 data[L1_LENGTH], *own;

  if (number >= SLOT_COUNT)
    return damaged (disk, error, "a key slot");
  if (!h2k_disk_pread (disk, 0, sizeof data, data, error))
    return FALSE;
  own = data + L1_SLOTS + number * SLOT_LENGTH;
  slot->kdf = g_strdup ("pbkdf2");
  slot->hash = take_name (data + L1_HASH);
  slot->af_hash = g_strdup (slot->hash);
  slot->digest_hash = g_strdup (slot->hash);
  slot->iterations = h2k_be32 (own + SLOT_ITERATIONS);
  slot->salt = g_bytes_new (own + SLOT_SALT, L1_SALT_LENGTH);
  slot->cipher = g_strdup (header->cipher);
  slot->key_size = slot->volume_key_size = (gsize)header->key_bytes;
  slot->offset = (guint64)h2k_be32 (own + SLOT_MATERIAL) * SECTOR;
  slot->stripes = h2k_be32 (own + SLOT_STRIPES);
  slot->digest = g_bytes_new (data + L1_DIGEST, L1_DIGEST_LENGTH);
  slot->digest_salt = g_bytes_new (data + L1_DIGEST_SALT, L1_SALT_LENGTH);
  slot->digest_iterations = header->digest_iterations;
  return TRUE;
}

static guint64
member_int (JsonObject *object, const char *name)
{
  gint64 value = object ? json_object_get_int_member_with_default (object, name, 0) : 0;

  return value > 0 ? (guint64)value : 0;
}

static GBytes *
member_bytes (JsonObject *object, const char *name)
{
  const char *text = member_text (object, name);
  gsize length = 0;
  guchar *data = text ? g_base64_decode (text, &length) : NULL;

  return g_bytes_new_take (data, length);
}

/* The digest that checks what the key slot NAME opens. */
static JsonObject *
find_digest (JsonObject *root, const char *name)
{
  JsonObject *digests = member_object (root, "digests");
  g_autoptr (GList) names = digests ? json_object_get_members (digests) : NULL;

  for (GList *n = names; n; n = n->next)
    {
      JsonObject *digest = member_object (digests, n->data);
      JsonNode *node = digest ? json_object_get_member (digest, "keyslots") : NULL;
      JsonArray *list = node && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;

      for (guint i = 0; list && i < json_array_get_length (list); i++)
        {
          JsonNode *element = json_array_get_element (list, i);
          if (json_node_get_value_type (element) == G_TYPE_STRING
              && strcmp (json_node_get_string (element), name) == 0)
            return digest;
        }
    }
  return NULL;
}

static gboolean
parse_slot2 (JsonObject *root, const char *name, H2kLuksSlot *slot)
{
  JsonObject *own = member_object (member_object (root, "keyslots"), name);
  JsonObject *kdf = member_object (own, "kdf"), *area = member_object (own, "area");
  JsonObject *af = member_object (own, "af"), *digest = find_digest (root, name);
  gboolean pbkdf2;

  if (!kdf || !area || !af || !digest || !member_number (area, "offset", G_MAXINT64, &slot->offset))
    return FALSE;
  slot->kdf = g_strdup (member_text (kdf, "type"));
  pbkdf2 = g_strcmp0 (slot->kdf, "pbkdf2") == 0;
  slot->hash = g_strdup (member_text (kdf, "hash"));
  slot->iterations = member_int (kdf, pbkdf2 ? "iterations" : "time");
  slot->memory_kib = member_int (kdf, "memory");
  slot->lanes = member_int (kdf, "cpus");
  slot->salt = member_bytes (kdf, "salt");
  slot->cipher = g_strdup (member_text (area, "encryption"));
  slot->key_size = (gsize)member_int (area, "key_size");
  slot->af_hash = g_strdup (member_text (af, "hash"));
  slot->stripes = (gsize)member_int (af, "stripes");
  slot->volume_key_size = (gsize)member_int (own, "key_size");
  slot->digest_hash = g_strdup (member_text (digest, "hash"));
  slot->digest_iterations = member_int (digest, "iterations");
  slot->digest_salt = member_bytes (digest, "salt");
  slot->digest = member_bytes (digest, "digest");
  return slot->kdf && (slot->hash || !pbkdf2) && slot->cipher && slot->af_hash && slot->digest_hash;
}

static gboolean
read_slot2 (H2kDisk *disk, const H2kLuksHeader *header, guint number, H2kLuksSlot *slot,
            GError **error)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autofree char *name = g_strdup_printf ("%u", number);

  return (json_parser_load_from_data (parser, header->json, -1, NULL)
          && parse_slot2 (json_node_get_object (json_parser_get_root (parser)), name, slot))
         || damaged (disk, error, "a key slot");
}

gsize
h2k_luks_slot_area (const H2kLuksSlot *slot)
{
  return (slot->volume_key_size * slot->stripes + SECTOR - 1) / SECTOR * SECTOR;
}

static gboolean
is_size (gsize size)
{
  return size > 0 && size <= H2K_LUKS_MAX_KEY;
}

H2kLuksSlot *
h2k_luks_slot_read (H2kDisk *disk, const H2kLuksHeader *header, guint number, GError **error)
{
  g_autoptr (H2kLuksSlot) slot = g_new0 (H2kLuksSlot, 1);

  if (!(header->version == 1 ? read_slot1 (disk, header, number, slot, error)
                             : read_slot2 (disk, header, number, slot, error)))
    return NULL;
  if (is_size (slot->key_size) && is_size (slot->volume_key_size)
      && is_size (g_bytes_get_size (slot->digest)) && slot->stripes > 0
      && slot->stripes <= MAX_STRIPES && slot->offset <= header->header_size
      && h2k_luks_slot_area (slot) <= header->header_size - slot->offset && slot->iterations > 0
      && slot->digest_iterations > 0)
    return g_steal_pointer (&slot);
  damaged (disk, error, "a key slot");
  return NULL;
}
