/* vmx.c - reads the VM out of a VMware configuration file, as ESXi, Workstation and Fusion write
 * it: lines of KEY = "VALUE", keys in any case, "|22" for a quotation mark. There is no public
 * specification; VMware's documentation and files in the wild stand in for it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/private.h"

#include <stdlib.h>

#define MAX_KEYS 65536

typedef struct
{
  const char *name;
  GHashTable *keys; /* char * in lower case, to char * */
  H2kVm *vm;
} Vmx;

static void
vmx_clear (Vmx *vmx)
{
  g_clear_pointer (&vmx->keys, g_hash_table_unref);
  h2k_vm_free (vmx->vm);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Vmx, vmx_clear)

/* --- lines ------------------------------------------------------------------------------------ */

/* The value at TEXT, in quotes or bare, unescaped later; NULL when the closing quote is missing or
 * something follows it. */
static char *
read_value (const char *text)
{
  const char *end;

  if (*text != '"')
    return g_strchomp (g_strdup (text));
  end = strchr (text + 1, '"');
  if (!end)
    return NULL;
  text++;
  for (const char *p = end + 1; *p && *p != '#'; p++)
    if (!g_ascii_isspace (*p))
      return NULL;
  return g_strndup (text, (gsize)(end - text));
}

/* VALUE with "|XX" turned into the byte; as it is where that would not be text. */
static char *
unescape (const char *value)
{
  GString *out = g_string_new (NULL);
  g_autofree char *text = NULL;

  for (const char *p = value; *p; p++)
    {
      gboolean escape = p[0] == '|' && g_ascii_isxdigit (p[1]) && g_ascii_isxdigit (p[2])
                        && !(p[1] == '0' && p[2] == '0');
      g_string_append_c (out, escape ? (char)(g_ascii_xdigit_value (p[1]) << 4
                                              | g_ascii_xdigit_value (p[2]))
                                     : *p);
      p += escape ? 2 : 0;
    }
  text = g_string_free (out, FALSE);
  return g_strdup (g_utf8_validate (text, -1, NULL) ? text : value);
}

/* Add what LINE says to KEYS; the last of several lines with one key counts. */
static gboolean
parse_line (GHashTable *keys, const char *line)
{
  const char *equals = strchr (line, '=');
  g_autofree char *raw = NULL, *key = NULL;

  if (!equals || equals == line)
    return FALSE;
  raw = read_value (equals + 1 + strspn (equals + 1, " \t"));
  if (!raw)
    return FALSE;
  key = g_ascii_strdown (line, equals - line);
  g_strchomp (key);
  g_hash_table_replace (keys, g_steal_pointer (&key), unescape (raw));
  return TRUE;
}

/* The file names its own encoding in ASCII: find that before anything is converted. */
static char *
find_encoding (const char *text)
{
  const char *key = ".encoding";

  while (text)
    {
      const char *p = text + strspn (text, " \t\r\n");
      gsize n = strcspn (p, "\r\n");
      if (g_ascii_strncasecmp (p, key, strlen (key)) == 0)
        {
          g_autofree char *line = g_strndup (p, n);
          const char *equals = strchr (line, '=');
          return equals ? read_value (equals + 1 + strspn (equals + 1, " \t")) : NULL;
        }
      text = p[n] ? p + n : NULL;
    }
  return NULL;
}

static gboolean
is_utf8 (const char *encoding)
{
  return g_ascii_strcasecmp (encoding, "UTF-8") == 0 || g_ascii_strcasecmp (encoding, "UTF8") == 0;
}

/* TEXT converted from ENCODING, which may be anything. Options of iconv ("//IGNORE") are no part of
 * a name. */
static char *
convert (const char *text, const char *encoding, gboolean *known)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *converted = NULL;

  *known = encoding[strcspn (encoding, "/")] == '\0' && g_str_is_ascii (encoding);
  if (!*known)
    return NULL;
  converted = g_convert (text, -1, "UTF-8", encoding, NULL, NULL, &error);
  *known = !g_error_matches (error, G_CONVERT_ERROR, G_CONVERT_ERROR_NO_CONVERSION);
  return converted && g_utf8_validate (converted, -1, NULL) ? g_steal_pointer (&converted) : NULL;
}

/* TEXT in UTF-8. A file that does not say its encoding is UTF-8 or, from old Windows hosts,
 * windows-1252. */
static char *
to_utf8 (const char *text, const char *name, GError **error)
{
  g_autofree char *said = find_encoding (text), *safe = NULL;
  const char *encoding = said && *said ? said : "windows-1252";
  char *converted;
  gboolean known;

  if (g_utf8_validate (text, -1, NULL) && (!said || !*said || is_utf8 (said)))
    return g_strdup (text);
  converted = convert (text, encoding, &known);
  if (converted)
    return converted;
  safe = h2k_escape_text (encoding, (gssize)MIN (strlen (encoding), 80));
  g_set_error (error, H2K_ERROR, known ? H2K_ERROR_FORMAT : H2K_ERROR_UNSUPPORTED,
               "%s: cannot be converted from its encoding \"%s\", %s; convert it to UTF-8 and set "
               ".encoding = \"UTF-8\" in it",
               name, safe, known ? "in which it is no valid text" : "which is not known here");
  return NULL;
}

static gboolean
parse_lines (Vmx *vmx, char *text, GError **error)
{
  guint number = 1;
  char *end;

  if (g_str_has_prefix (text, "\xef\xbb\xbf"))
    text += 3;
  for (char *line = text; line && g_hash_table_size (vmx->keys) <= MAX_KEYS; line = end, number++)
    {
      end = strchr (line, '\n');
      if (end)
        *end++ = '\0';
      g_strstrip (line);
      if (*line == '\0' || *line == '#' || parse_line (vmx->keys, line))
        continue;
      g_autofree char *safe = h2k_escape_text (line, (gssize)MIN (strlen (line), 80));
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: line %u is not KEY = \"VALUE\": \"%s\": the file is damaged, truncated or "
                   "no VMware configuration",
                   vmx->name, number, safe);
      return FALSE;
    }
  if (g_hash_table_size (vmx->keys) <= MAX_KEYS)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: has more than %d settings: it is no VMware configuration", vmx->name, MAX_KEYS);
  return FALSE;
}

/* --- values ----------------------------------------------------------------------------------- */

/* The value of a key; NULL when it is missing or empty. */
static const char *G_GNUC_PRINTF (2, 3) get (const Vmx *vmx, const char *format, ...)
{
  g_autofree char *key = NULL;
  const char *value;
  va_list args;

  va_start (args, format);
  key = g_strdup_vprintf (format, args);
  va_end (args);
  value = g_hash_table_lookup (vmx->keys, key);
  return value && *value ? value : NULL;
}

static gboolean
is_true (const char *value)
{
  return value
         && (g_ascii_strcasecmp (value, "true") == 0 || g_ascii_strcasecmp (value, "yes") == 0
             || g_ascii_strcasecmp (value, "on") == 0 || strcmp (value, "1") == 0);
}

static gboolean
get_number (const Vmx *vmx, const char *key, guint64 max, guint64 *number, GError **error)
{
  const char *text = get (vmx, "%s", key);

  if (!text || g_ascii_string_to_unsigned (text, 10, 1, max, number, NULL))
    return TRUE;
  g_autofree char *safe = h2k_escape_text (text, (gssize)MIN (strlen (text), 80));
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: %s = \"%s\" is no number from 1 to %" G_GUINT64_FORMAT "; correct it",
               vmx->name, key, safe, max);
  return FALSE;
}

/* --- disks ------------------------------------------------------------------------------------ */

/* In the order of their disks among the VM's. */
static const struct
{
  const char *word;
  H2kVmBus bus;
  gboolean has_present; /* the controller itself can be absent */
} buses[] = {
    {"scsi", H2K_VM_BUS_SCSI, TRUE},
    {"sata", H2K_VM_BUS_SATA, TRUE},
    {"nvme", H2K_VM_BUS_NVME, TRUE},
    {"ide", H2K_VM_BUS_IDE, FALSE},
};

typedef struct
{
  guint bus; /* index into buses */
  guint controller, unit;
} Place;

/* Cut a small decimal number off *TEXT; one with leading zeros would name a device twice. */
static gboolean
cut_number (const char **text, guint *number)
{
  gsize n = strspn (*text, "0123456789");

  if (n == 0 || n > 4 || (n > 1 && **text == '0'))
    return FALSE;
  *number = (guint)atoi (*text);
  *text += n;
  return TRUE;
}

/* TEXT, "scsi0:1" and then REST, as a place. */
static gboolean
parse_place (const char *text, const char *rest, Place *place)
{
  for (guint i = 0; i < G_N_ELEMENTS (buses); i++)
    {
      const char *p = text + strlen (buses[i].word);
      if (!g_str_has_prefix (text, buses[i].word) || !cut_number (&p, &place->controller)
          || *p++ != ':' || !cut_number (&p, &place->unit) || strcmp (p, rest) != 0)
        continue;
      place->bus = i;
      return TRUE;
    }
  return FALSE;
}

static int
compare_places (gconstpointer a, gconstpointer b)
{
  const Place *x = a, *y = b;

  if (x->bus != y->bus)
    return x->bus < y->bus ? -1 : 1;
  if (x->controller != y->controller)
    return x->controller < y->controller ? -1 : 1;
  return x->unit < y->unit ? -1 : x->unit > y->unit;
}

/* What a device of a type is; a device without one is a disk unless it holds a CD's image. */
typedef enum
{
  DEVICE_DISK,
  DEVICE_CD,
  DEVICE_HOST,
} Device;

static Device
device_of (const char *type, const char *file)
{
  static const struct
  {
    const char *word;
    Device device;
  } words[] = {
      {"disk", DEVICE_DISK},          {"scsi-hardDisk", DEVICE_DISK}, {"ata-hardDisk", DEVICE_DISK},
      {"sata-hardDisk", DEVICE_DISK}, {"nvme-hardDisk", DEVICE_DISK}, {"rawDisk", DEVICE_DISK},
      {"cdrom", DEVICE_CD},           {"cdrom-image", DEVICE_CD},     {"cdrom-raw", DEVICE_CD},
      {"atapi-cdrom", DEVICE_CD},
  };
  g_autofree char *lower = file ? g_ascii_strdown (file, -1) : NULL;

  for (gsize i = 0; type && i < G_N_ELEMENTS (words); i++)
    if (g_ascii_strcasecmp (words[i].word, type) == 0)
      return words[i].device;
  if (type)
    return DEVICE_HOST;
  return lower && g_str_has_suffix (lower, ".iso") ? DEVICE_CD : DEVICE_DISK;
}

static gboolean
add_disk (Vmx *vmx, const char *id, const Place *place, GError **error)
{
  const char *word = buses[place->bus].word;
  const char *type = get (vmx, "%s.devicetype", id), *file = get (vmx, "%s.filename", id);
  Device device = device_of (type, file);
  H2kVmDisk *disk;

  if (device == DEVICE_CD)
    return TRUE;
  if (device == DEVICE_HOST || !file)
    {
      g_autofree char *safe = h2k_escape_text (type ? type : "disk", -1);
      g_set_error (
          error, H2K_ERROR, device == DEVICE_HOST ? H2K_ERROR_UNSUPPORTED : H2K_ERROR_FORMAT,
          device == DEVICE_HOST
              ? "%s: %s is a device of the host (\"%s\"), which cannot be migrated; remove "
                "it from the VM"
              : "%s: %s (\"%s\") has no file name; remove it from the VM or name its file",
          vmx->name, id, safe);
      return FALSE;
    }
  disk = g_new0 (H2kVmDisk, 1);
  disk->file = g_strdup (file);
  disk->id = g_strdup (id);
  disk->bus = buses[place->bus].bus;
  disk->controller = place->controller;
  disk->unit = place->unit;
  disk->controller_type = g_strdup (get (vmx, "%s%u.virtualdev", word, place->controller));
  if (strlen (file) > 5 && g_ascii_strcasecmp (file + strlen (file) - 5, ".vmdk") == 0)
    disk->format = g_strdup ("vmdk");
  return h2k_vm_add_disk (vmx->vm, disk, vmx->name, error);
}

static gboolean
is_present (const Vmx *vmx, const Place *place, const char *id)
{
  const char *word = buses[place->bus].word;

  return is_true (get (vmx, "%s.present", id))
         && (!buses[place->bus].has_present
             || is_true (get (vmx, "%s%u.present", word, place->controller)));
}

static gboolean
read_disks (Vmx *vmx, GError **error)
{
  g_autoptr (GArray) places = g_array_new (FALSE, FALSE, sizeof (Place));
  GHashTableIter iter;
  const char *key;
  Place place;

  g_hash_table_iter_init (&iter, vmx->keys);
  while (g_hash_table_iter_next (&iter, (gpointer *)&key, NULL))
    if (parse_place (key, ".present", &place))
      g_array_append_val (places, place);
  g_array_sort (places, compare_places);
  for (guint i = 0; i < places->len; i++)
    {
      const Place *p = &g_array_index (places, Place, i);
      g_autofree char *id = g_strdup_printf ("%s%u:%u", buses[p->bus].word, p->controller, p->unit);
      if (is_present (vmx, p, id) && !add_disk (vmx, id, p, error))
        return FALSE;
    }
  return TRUE;
}

/* bios.hddOrder = "scsi0:1,scsi0:0" */
static void
order_disks (Vmx *vmx)
{
  const char *order = get (vmx, "bios.hddorder");
  g_auto (GStrv) ids = order ? g_strsplit (order, ",", H2K_VM_MAX_DEVICES) : NULL;
  guint place = 0;

  for (char **id = ids; id && *id; id++)
    for (guint i = place; i < vmx->vm->disks->len; i++)
      {
        H2kVmDisk *disk = vmx->vm->disks->pdata[i];
        if (g_ascii_strcasecmp (disk->id, g_strstrip (*id)) != 0)
          continue;
        h2k_vm_move_disk (vmx->vm, disk, place++);
        break;
      }
}

/* --- network adapters and the rest ------------------------------------------------------------ */

/* The address that the type chooses; a type that is not known chooses whichever is there. */
static char *
read_mac (const Vmx *vmx, guint i)
{
  const char *type = get (vmx, "ethernet%u.addresstype", i);
  const char *fixed = get (vmx, "ethernet%u.address", i);
  const char *generated = get (vmx, "ethernet%u.generatedaddress", i);
  const char *text = type && g_ascii_strcasecmp (type, "static") == 0 ? fixed : generated;

  if (!text)
    text = fixed ? fixed : generated;
  return text ? h2k_mac_parse (text) : NULL;
}

static int
compare_numbers (gconstpointer a, gconstpointer b)
{
  guint x = *(const guint *)a, y = *(const guint *)b;

  return x < y ? -1 : x > y;
}

static gboolean
read_nics (Vmx *vmx, GError **error)
{
  g_autoptr (GArray) numbers = g_array_new (FALSE, FALSE, sizeof (guint));
  GHashTableIter iter;
  const char *key;
  guint number;

  g_hash_table_iter_init (&iter, vmx->keys);
  while (g_hash_table_iter_next (&iter, (gpointer *)&key, NULL))
    {
      const char *p = key + strlen ("ethernet");
      if (g_str_has_prefix (key, "ethernet") && cut_number (&p, &number)
          && strcmp (p, ".present") == 0)
        g_array_append_val (numbers, number);
    }
  g_array_sort (numbers, compare_numbers);
  for (guint i = 0; i < numbers->len; i++)
    {
      guint n = g_array_index (numbers, guint, i);
      const char *network = get (vmx, "ethernet%u.networkname", n);
      H2kVmNic *nic;
      if (!is_true (get (vmx, "ethernet%u.present", n)))
        continue;
      nic = g_new0 (H2kVmNic, 1);
      nic->mac = read_mac (vmx, n);
      nic->network = g_strdup (network ? network : get (vmx, "ethernet%u.connectiontype", n));
      nic->model = g_strdup (get (vmx, "ethernet%u.virtualdev", n));
      if (!h2k_vm_add_nic (vmx->vm, nic, vmx->name, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
read_machine (Vmx *vmx, GError **error)
{
  const char *title = get (vmx, "displayname"), *firmware = get (vmx, "firmware");
  guint64 vcpus = 1, memory = 0;

  if (!get_number (vmx, "numvcpus", G_MAXUINT16, &vcpus, error)
      || !get_number (vmx, "memsize", G_MAXUINT32, &memory, error))
    return FALSE;
  vmx->vm->name = g_strdup (title ? title : "vm");
  vmx->vm->vcpus = (guint)vcpus;
  vmx->vm->memory_mib = memory;
  vmx->vm->firmware = firmware && g_ascii_strcasecmp (firmware, "efi") == 0 ? H2K_VM_FIRMWARE_UEFI
                                                                            : H2K_VM_FIRMWARE_BIOS;
  vmx->vm->secure_boot = is_true (get (vmx, "uefi.secureboot.enabled"));
  vmx->vm->has_tpm
      = is_true (get (vmx, "vtpm.present")) || get (vmx, "managedvm.autoaddvtpm") != NULL;
  vmx->vm->os_hint = g_strdup (get (vmx, "guestos"));
  return TRUE;
}

static gboolean
check_is_vmx (const Vmx *vmx, GError **error)
{
  if (get (vmx, "encryption.keysafe") || get (vmx, "encryption.data"))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the VM is encrypted; remove the encryption in VMware first", vmx->name);
      return FALSE;
    }
  if (get (vmx, "config.version") || get (vmx, "virtualhw.version") || get (vmx, "displayname"))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: is no VMware configuration: config.version, virtualHW.version and displayName "
               "are all missing",
               vmx->name);
  return FALSE;
}

H2kVm *
h2k_vmx_parse (const char *text, gsize size, const char *name, GError **error)
{
  g_autofree char *copy = h2k_description_copy (text, size, name, error);
  g_autofree char *utf8 = copy ? to_utf8 (copy, name, error) : NULL;
  g_auto (Vmx) vmx = {.name = name};

  if (!utf8)
    return NULL;
  vmx.keys = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  vmx.vm = h2k_vm_new ();
  if (!parse_lines (&vmx, utf8, error) || !check_is_vmx (&vmx, error) || !read_machine (&vmx, error)
      || !read_disks (&vmx, error) || !read_nics (&vmx, error))
    return NULL;
  order_disks (&vmx);
  return g_steal_pointer (&vmx.vm);
}
