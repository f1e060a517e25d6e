/* ovf.c - reads the VM out of an OVF descriptor: DMTF DSP0243 versions 1.1 and 2.1, with the
 * extensions of VMware (vmw:), VirtualBox (vbox:) and oVirt. Quantities follow DSP0004, annex C
 * ("programmatic units").
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/ovf-xml.h"

/* CIM_ResourceAllocationSettingData.ResourceType */
enum
{
  RESOURCE_OTHER = 1,
  RESOURCE_CPU = 3,
  RESOURCE_MEMORY = 4,
  RESOURCE_IDE = 5,
  RESOURCE_SCSI = 6,
  RESOURCE_ETHERNET = 10,
  RESOURCE_DISK = 17,
  RESOURCE_OTHER_STORAGE = 20, /* SATA and NVMe */
  RESOURCE_LOGICAL_DISK = 31,
};

#define MAX_CHAIN 64

/* An Item's properties as text; NULL when they are missing. */
typedef struct
{
  xmlNode *node;
  char *type, *subtype, *instance, *parent, *address, *unit, *host, *connection, *quantity, *units;
  char *mac, *sockets, *cores, *threads, *device, *boot_order;
} Item;

static const struct
{
  const char *name;
  gsize offset;
} properties[] = {
#define PROPERTY(name, member)                                                                     \
  {                                                                                                \
    name, G_STRUCT_OFFSET (Item, member)                                                           \
  }
    PROPERTY ("ResourceType", type),
    PROPERTY ("ResourceSubType", subtype),
    PROPERTY ("InstanceID", instance),
    PROPERTY ("Parent", parent),
    PROPERTY ("Address", address),
    PROPERTY ("AddressOnParent", unit),
    PROPERTY ("HostResource", host),
    PROPERTY ("Connection", connection),
    PROPERTY ("VirtualQuantity", quantity),
    PROPERTY ("AllocationUnits", units),
    /* oVirt's */
    PROPERTY ("InstanceId", instance),
    PROPERTY ("MACAddress", mac),
    PROPERTY ("num_of_sockets", sockets),
    PROPERTY ("cpu_per_socket", cores),
    PROPERTY ("threads_per_cpu", threads),
    PROPERTY ("Device", device),
    PROPERTY ("BootOrder", boot_order),
#undef PROPERTY
};

typedef struct
{
  H2kVmBus bus;
  char *type;
  guint number;
} Controller;

typedef struct
{
  const char *name; /* the descriptor's */
  xmlNode *envelope, *system, *hardware;
  char *configuration;     /* the default deployment option; NULL: there are none */
  GPtrArray *items;        /* Item *: the hardware of that configuration */
  GHashTable *files;       /* File elements by id and, where that names no other, by href */
  GHashTable *disks;       /* Disk elements by diskId */
  GHashTable *disks_of;    /* Disk elements by fileRef, for oVirt */
  GHashTable *controllers; /* Controller * by InstanceID */
  GHashTable *by_instance; /* H2kVmDisk * by InstanceID */
  H2kVm *vm;
} Ovf;

static void
item_free (Item *item)
{
  if (!item)
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (properties); i++)
    g_clear_pointer (&G_STRUCT_MEMBER (char *, item, properties[i].offset), g_free);
  g_free (item);
}

static void
controller_free (Controller *controller)
{
  g_free (controller->type);
  g_free (controller);
}

static void
ovf_clear (Ovf *ovf)
{
  g_free (ovf->configuration);
  g_clear_pointer (&ovf->items, g_ptr_array_unref);
  g_clear_pointer (&ovf->files, g_hash_table_unref);
  g_clear_pointer (&ovf->disks, g_hash_table_unref);
  g_clear_pointer (&ovf->disks_of, g_hash_table_unref);
  g_clear_pointer (&ovf->controllers, g_hash_table_unref);
  g_clear_pointer (&ovf->by_instance, g_hash_table_unref);
  h2k_vm_free (ovf->vm);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Ovf, ovf_clear)

/* An error about VALUE, a text of the descriptor (may be NULL). */
static void G_GNUC_PRINTF (5, 6) set_error (const Ovf *ovf, GError **error, H2kError code,
                                            const char *value, const char *format, ...)
{
  g_autofree char *safe
      = value ? h2k_escape_text (value, (gssize)MIN (strlen (value), 200)) : g_strdup ("");
  g_autofree char *message = NULL;
  va_list args;

  va_start (args, format);
  message = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, H2K_ERROR, code, "%s: \"%s\" %s", ovf->name, safe, message);
}

/* --- numbers ---------------------------------------------------------------------------------- */

static gboolean
parse_number (const char *text, guint64 max, guint64 *value)
{
  return text && g_ascii_string_to_unsigned (text, 10, 0, max, value, NULL);
}

/* TEXT as a number, or FALLBACK. */
static guint
number_or (const char *text, guint fallback)
{
  guint64 value;

  return parse_number (text, G_MAXUINT16, &value) ? (guint)value : fallback;
}

static const struct
{
  const char *word;
  guint64 bytes;
} unit_words[] = {
    {"byte", 1},
    {"bytes", 1},
    {"kilobyte", 1 << 10},
    {"kilobytes", 1 << 10},
    {"kb", 1 << 10},
    {"megabyte", 1 << 20},
    {"megabytes", 1 << 20},
    {"mb", 1 << 20},
    {"gigabyte", 1 << 30},
    {"gigabytes", 1 << 30},
    {"gb", 1 << 30},
    {"terabyte", G_GUINT64_CONSTANT (1) << 40},
    {"terabytes", G_GUINT64_CONSTANT (1) << 40},
    {"tb", G_GUINT64_CONSTANT (1) << 40},
};

/* FACTOR, "NUMBER" or "BASE^EXPONENT", multiplied into VALUE. */
static gboolean
multiply (const char *factor, guint64 *value)
{
  g_auto (GStrv) power = g_strsplit (factor, "^", 2);
  guint64 base, exponent = 1;

  if (!parse_number (power[0], G_MAXINT64, &base) || base == 0)
    return FALSE;
  if (power[1] && !parse_number (power[1], 63, &exponent))
    return FALSE;
  for (; exponent; exponent--)
    if (!g_uint64_checked_mul (value, *value, base))
      return FALSE;
  return TRUE;
}

/* The bytes in one of UNITS: "byte * 2^20", "byte*1024*1024", "MegaBytes". */
static gboolean
parse_units (const char *units, guint64 *bytes)
{
  g_auto (GStrv) factors = NULL;
  g_autofree char *copy = g_ascii_strdown (units, -1);
  GString *packed = g_string_new (NULL);
  g_autofree char *text = NULL;
  gboolean known = FALSE;

  for (const char *p = copy; *p; p++)
    if (!g_ascii_isspace (*p))
      g_string_append_c (packed, *p);
  text = g_string_free (packed, FALSE);
  factors = g_strsplit (text, "*", 16);
  for (gsize i = 0; factors[0] && i < G_N_ELEMENTS (unit_words) && !known; i++)
    if ((known = strcmp (unit_words[i].word, factors[0]) == 0))
      *bytes = unit_words[i].bytes;
  for (guint i = 1; known && factors[i]; i++)
    known = multiply (factors[i], bytes);
  return known;
}

/* QUANTITY in UNITS (not NULL) as bytes, within 63 bits. */
static gboolean
parse_bytes (const Ovf *ovf, const char *quantity, const char *units, guint64 *bytes,
             GError **error)
{
  guint64 number, unit;

  if (!parse_units (units, &unit))
    {
      set_error (ovf, error, H2K_ERROR_FORMAT, units,
                 "is no unit of bytes; \"byte * 2^20\" would be one");
      return FALSE;
    }
  if (parse_number (quantity, G_MAXINT64, &number) && g_uint64_checked_mul (bytes, number, unit)
      && *bytes <= G_MAXINT64)
    return TRUE;
  set_error (ovf, error, H2K_ERROR_FORMAT, quantity,
             "is no size, or too large a one, in units of %" G_GUINT64_FORMAT " bytes", unit);
  return FALSE;
}

/* --- which system and which items ------------------------------------------------------------- */

/* The node after NODE in the document below TOP: its first child if DOWN; NULL at the end. */
static xmlNode *
following (const xmlNode *top, xmlNode *node, gboolean down)
{
  if (down && node->children)
    return node->children;
  while (node != top && !node->next)
    node = node->parent;
  return node == top ? NULL : node->next;
}

/* Collections may be nested. */
static void
find_systems (const xmlNode *envelope, GPtrArray *systems)
{
  xmlNode *node = envelope->children;

  while (node)
    {
      if (h2k_ovf_is (node, "VirtualSystem"))
        g_ptr_array_add (systems, node);
      node = following (envelope, node, h2k_ovf_is (node, "VirtualSystemCollection"));
    }
}

static char *
system_name (const xmlNode *system)
{
  char *name = h2k_ovf_text (h2k_ovf_child (system, "Name"));
  const xmlNode *hardware = h2k_ovf_child (system, "VirtualHardwareSection");
  const xmlNode *settings = h2k_ovf_child (hardware, "System");

  for (const xmlNode *n = settings ? settings->children : NULL; n && !name; n = n->next)
    if (n->type == XML_ELEMENT_NODE
        && strcmp ((const char *)n->name, "VirtualSystemIdentifier") == 0)
      name = h2k_ovf_text (n);
  return name ? name : h2k_ovf_attr (system, "id");
}

static void
set_many_error (const Ovf *ovf, const GPtrArray *systems, GError **error)
{
  GString *names = g_string_new (NULL);
  g_autofree char *text = NULL;

  for (guint i = 0; i < systems->len && i < 16; i++)
    {
      g_autofree char *name = system_name (systems->pdata[i]);
      g_autofree char *safe = name ? h2k_escape_text (name, (gssize)MIN (strlen (name), 80)) : NULL;
      g_string_append_printf (names, "%s\"%s\"", i ? ", " : "", safe ? safe : "");
    }
  if (systems->len > 16)
    g_string_append (names, ", ...");
  text = g_string_free (names, FALSE);
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: describes %u VMs, and one can be migrated at a time: %s; export the one you "
               "want on its own",
               ovf->name, systems->len, text);
}

static gboolean
choose_system (Ovf *ovf, GError **error)
{
  g_autoptr (GPtrArray) systems = g_ptr_array_new ();

  find_systems (ovf->envelope, systems);
  if (systems->len > 1)
    {
      set_many_error (ovf, systems, error);
      return FALSE;
    }
  ovf->system = systems->len ? systems->pdata[0] : NULL;
  ovf->hardware = h2k_ovf_child (ovf->system, "VirtualHardwareSection");
  if (!ovf->hardware)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                 "%s: describes no VM (there is no %s in it); export the VM again", ovf->name,
                 ovf->system ? "VirtualHardwareSection" : "VirtualSystem");
  return ovf->hardware != NULL;
}

/* The deployment option that is taken when nobody chooses: the default, else the first. */
static char *
default_configuration (const xmlNode *envelope)
{
  const xmlNode *section = h2k_ovf_child (envelope, "DeploymentOptionSection");
  const xmlNode *first = h2k_ovf_child (section, "Configuration");

  for (const xmlNode *n = first; n; n = h2k_ovf_next (n, "Configuration"))
    {
      g_autofree char *is_default = h2k_ovf_attr (n, "default");
      if (is_default && (g_ascii_strcasecmp (is_default, "true") == 0 || *is_default == '1'))
        return h2k_ovf_attr (n, "id");
    }
  return h2k_ovf_attr (first, "id");
}

/* Whether NODE belongs to the configuration: 0 no, 1 as it does to every one, 2 expressly. */
static int
applies (const Ovf *ovf, const xmlNode *node)
{
  g_autofree char *list = h2k_ovf_attr (node, "configuration");
  g_auto (GStrv) words = NULL;

  if (!list || *list == '\0')
    return 1;
  words = g_strsplit_set (list, " \t\r\n", -1);
  return ovf->configuration && g_strv_contains ((const char *const *)words, ovf->configuration) ? 2
                                                                                                : 0;
}

static Item *
read_item (xmlNode *node)
{
  Item *item = g_new0 (Item, 1);

  item->node = node;
  for (xmlNode *n = node->children; n; n = n->next)
    for (gsize i = 0; n->type == XML_ELEMENT_NODE && i < G_N_ELEMENTS (properties); i++)
      {
        char **member = &G_STRUCT_MEMBER (char *, item, properties[i].offset);
        H2kOvfNs ns = h2k_ovf_ns (n->ns);
        if (!*member && (ns == H2K_OVF_NS_SETTINGS || ns == H2K_OVF_NS_OVF)
            && strcmp ((const char *)n->name, properties[i].name) == 0)
          *member = h2k_ovf_text (n);
      }
  return item;
}

/* The hardware of the configuration. An item that it names replaces a general one of the same
 * InstanceID; what only bounds a quantity is no device. */
static void
read_items (Ovf *ovf)
{
  g_autoptr (GHashTable) special = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GPtrArray) items = g_ptr_array_new_with_free_func ((GDestroyNotify)item_free);
  g_autoptr (GArray) ranks = g_array_new (FALSE, FALSE, sizeof (int));

  for (xmlNode *n = ovf->hardware->children; n; n = n->next)
    {
      g_autofree char *bound = NULL;
      int rank;
      if (!h2k_ovf_is (n, "Item") && !h2k_ovf_is (n, "StorageItem")
          && !h2k_ovf_is (n, "EthernetPortItem"))
        continue;
      bound = h2k_ovf_attr (n, "bound");
      rank = applies (ovf, n);
      if (rank == 0 || (bound && *bound && g_ascii_strcasecmp (bound, "normal") != 0))
        continue;
      Item *item = read_item (n);
      g_ptr_array_add (items, item);
      g_array_append_val (ranks, rank);
      if (rank == 2 && item->instance)
        g_hash_table_add (special, item->instance);
    }
  for (guint i = 0; i < items->len; i++)
    {
      Item *item = items->pdata[i];
      if (g_array_index (ranks, int, i) == 2 || !item->instance
          || !g_hash_table_contains (special, item->instance))
        g_ptr_array_add (ovf->items, g_steal_pointer (&items->pdata[i]));
    }
}

/* --- files and disks -------------------------------------------------------------------------- */

/* Add NODE to TABLE under its attribute KEY. Errors: H2K_ERROR_FORMAT for a second one. */
static gboolean
add_unique (const Ovf *ovf, GHashTable *table, xmlNode *node, const char *key, GError **error)
{
  char *id = h2k_ovf_attr (node, key);

  if (!id || g_hash_table_insert (table, id, node))
    return TRUE;
  id = h2k_ovf_attr (node, key);
  set_error (ovf, error, H2K_ERROR_FORMAT, id,
             "is the id of two different %ss, so that its references are ambiguous",
             (const char *)node->name);
  g_free (id);
  return FALSE;
}

static gboolean
read_references (Ovf *ovf, GError **error)
{
  const xmlNode *files = h2k_ovf_child (ovf->envelope, "References");
  const xmlNode *disks = h2k_ovf_child (ovf->envelope, "DiskSection");

  for (xmlNode *n = h2k_ovf_child (files, "File"); n; n = h2k_ovf_next (n, "File"))
    if (!add_unique (ovf, ovf->files, n, "id", error))
      return FALSE;
  for (xmlNode *n = h2k_ovf_child (files, "File"); n; n = h2k_ovf_next (n, "File"))
    {
      g_autofree char *href = h2k_ovf_attr (n, "href");
      if (href && !g_hash_table_contains (ovf->files, href))
        g_hash_table_insert (ovf->files, g_steal_pointer (&href), n);
    }
  for (xmlNode *n = h2k_ovf_child (disks, "Disk"); n; n = h2k_ovf_next (n, "Disk"))
    {
      char *file = h2k_ovf_attr (n, "fileRef");
      if (!add_unique (ovf, ovf->disks, n, "diskId", error))
        {
          g_free (file);
          return FALSE;
        }
      if (file)
        g_hash_table_insert (ovf->disks_of, file, n);
    }
  return TRUE;
}

/* HREF as a plain path. One that is not percent-encoded properly was not encoded at all. */
static char *
decode_href (const Ovf *ovf, const char *href, GError **error)
{
  g_autofree char *decoded = NULL;
  gsize scheme = strspn (href, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

  if (g_ascii_strncasecmp (href, "http://", 7) == 0
      || g_ascii_strncasecmp (href, "https://", 8) == 0)
    {
      set_error (ovf, error, H2K_ERROR_UNSUPPORTED, href,
                 "is on a server, which is not supported: download it beside the OVF and write its "
                 "plain name there");
      return NULL;
    }
  if (scheme
      && (g_str_has_prefix (href + scheme, "://") || g_ascii_strncasecmp (href, "file:", 5) == 0))
    {
      set_error (ovf, error, H2K_ERROR_FORMAT, href,
                 "is a URL; put the file beside the OVF and write its plain name there");
      return NULL;
    }
  decoded = g_uri_unescape_string (href, NULL);
  return h2k_plain_path (decoded ? decoded : href, ovf->name, error);
}

static const struct
{
  const char *word;
  const char *format;
} formats[] = {
    {"vmdk", "vmdk"},  {"vhdx", "vhdx"}, {"vhd", "vhd"},
    {"qcow", "qcow2"}, {"vdi", "vdi"},   {"/wiki/byte", "raw"},
};

/* A hint at DISK's format. oVirt copies a VMDK's URI everywhere and tells the truth elsewhere. */
static char *
format_hint (const xmlNode *disk)
{
  g_autofree char *volume = h2k_ovf_attr (disk, "volume-format");
  g_autofree char *uri = h2k_ovf_attr (disk, "format");
  g_autofree char *lower = uri ? g_ascii_strdown (uri, -1) : NULL;

  if (volume && g_ascii_strcasecmp (volume, "RAW") == 0)
    return g_strdup ("raw");
  if (volume && g_ascii_strcasecmp (volume, "COW") == 0)
    return g_strdup ("qcow2");
  for (gsize i = 0; lower && i < G_N_ELEMENTS (formats); i++)
    if (strstr (lower, formats[i].word))
      return g_strdup (formats[i].format);
  return NULL;
}

/* The default of the Property KEY of the chosen system. */
static char *
property_value (const Ovf *ovf, const char *key)
{
  const xmlNode *section = h2k_ovf_child (ovf->system, "ProductSection");

  for (; section; section = h2k_ovf_next (section, "ProductSection"))
    for (const xmlNode *n = h2k_ovf_child (section, "Property"); n;
         n = h2k_ovf_next (n, "Property"))
      {
        g_autofree char *name = h2k_ovf_attr (n, "key");
        if (g_strcmp0 (name, key) == 0)
          return h2k_ovf_attr (n, "value");
      }
  return NULL;
}

/* DISK's capacity: in units, as "${PROPERTY}", or oVirt's size in GiB. */
static gboolean
read_capacity (const Ovf *ovf, const xmlNode *disk, guint64 *bytes, GError **error)
{
  g_autofree char *capacity = h2k_ovf_attr (disk, "capacity");
  g_autofree char *units = h2k_ovf_attr (disk, "capacityAllocationUnits");
  g_autofree char *size = h2k_ovf_attr (disk, "size");
  gsize n = capacity ? strlen (capacity) : 0;

  if (n == 0 && size && *size)
    return parse_bytes (ovf, size, "byte * 2^30", bytes, error);
  if (n > 3 && g_str_has_prefix (capacity, "${") && capacity[n - 1] == '}')
    {
      g_autofree char *key = g_strndup (capacity + 2, n - 3);
      g_free (capacity);
      capacity = property_value (ovf, key);
    }
  if (!capacity || *capacity == '\0')
    return TRUE;
  return parse_bytes (ovf, capacity, units && *units ? units : "byte", bytes, error);
}

static gboolean
read_file (const Ovf *ovf, const xmlNode *file, H2kVmDisk *disk, GError **error)
{
  g_autofree char *href = h2k_ovf_attr (file, "href");
  g_autofree char *size = h2k_ovf_attr (file, "size");
  g_autofree char *compression = h2k_ovf_attr (file, "compression");
  g_autofree char *chunk = h2k_ovf_attr (file, "chunkSize");

  disk->file = decode_href (ovf, href ? href : "", error);
  if (!disk->file)
    return FALSE;
  /* Only a hint: exporters that stream write the file's size wrong or "-2". */
  if (!parse_number (size, G_MAXINT64, &disk->file_size))
    disk->file_size = 0;
  if (chunk && *chunk)
    {
      if (!parse_bytes (ovf, chunk, "byte", &disk->chunk_size, error))
        return FALSE;
      disk->chunked = disk->chunk_size != 0;
    }
  disk->gzip = compression && g_ascii_strcasecmp (compression, "gzip") == 0;
  if (disk->gzip || !compression || *compression == '\0'
      || g_ascii_strcasecmp (compression, "identity") == 0)
    return TRUE;
  set_error (ovf, error, H2K_ERROR_UNSUPPORTED, compression,
             "is a compression that is not known; decompress the disk and remove the attribute");
  return FALSE;
}

/* The disk that the Disk element NODE describes, without its place in the hardware. */
static H2kVmDisk *
new_disk (const Ovf *ovf, const xmlNode *node, GError **error)
{
  g_autoptr (H2kVmDisk) disk = g_new0 (H2kVmDisk, 1);
  g_autofree char *ref = h2k_ovf_attr (node, "fileRef");
  const xmlNode *file = ref && *ref ? g_hash_table_lookup (ovf->files, ref) : NULL;

  disk->id = h2k_ovf_attr (node, "diskId");
  disk->format = format_hint (node);
  disk->parent_ref = h2k_ovf_attr (node, "parentRef");
  if (disk->parent_ref && *disk->parent_ref == '\0')
    g_clear_pointer (&disk->parent_ref, g_free);
  if (!read_capacity (ovf, node, &disk->capacity, error))
    return NULL;
  if (ref && *ref && !file)
    {
      set_error (ovf, error, H2K_ERROR_FORMAT, ref,
                 "is the file of a disk, but no File of that id is listed; export the VM again");
      return NULL;
    }
  if (file && !read_file (ovf, file, disk, error))
    return NULL;
  return g_steal_pointer (&disk);
}

/* The Disk elements that DISK is a delta to. */
static gboolean
read_parents (const Ovf *ovf, H2kVmDisk *disk, GError **error)
{
  const char *ref = disk->parent_ref;

  for (guint depth = 0; ref; depth++)
    {
      const xmlNode *node = g_hash_table_lookup (ovf->disks, ref);
      if (!node || depth == MAX_CHAIN)
        {
          set_error (ovf, error, H2K_ERROR_FORMAT, ref,
                     node
                         ? "is the parent in a chain of disks without end; export the VM again"
                         : "is the parent of a disk, but no Disk has that id; export the VM again");
          return FALSE;
        }
      disk->parent = new_disk (ovf, node, error);
      if (!disk->parent)
        return FALSE;
      disk = disk->parent;
      ref = disk->parent_ref;
    }
  return TRUE;
}

/* --- devices ---------------------------------------------------------------------------------- */

/* A controller's bus. Subtypes tell what one resource type has in common; alternatives, as in
 * "buslogic,lsilogic", are of one bus. */
static H2kVmBus
controller_bus (guint type, const char *subtype)
{
  static const struct
  {
    const char *word;
    H2kVmBus bus;
  } words[] = {
      {"nvme", H2K_VM_BUS_NVME}, {"ahci", H2K_VM_BUS_SATA},     {"sata", H2K_VM_BUS_SATA},
      {"scsi", H2K_VM_BUS_SCSI}, {"lsilogic", H2K_VM_BUS_SCSI},
  };
  g_autofree char *lower = subtype ? g_ascii_strdown (subtype, -1) : NULL;

  for (gsize i = 0; lower && i < G_N_ELEMENTS (words); i++)
    if (strstr (lower, words[i].word))
      return words[i].bus;
  return type == RESOURCE_IDE    ? H2K_VM_BUS_IDE
         : type == RESOURCE_SCSI ? H2K_VM_BUS_SCSI
                                 : H2K_VM_BUS_UNKNOWN;
}

/* Controllers that have no number of their own are counted. */
static void
read_controllers (Ovf *ovf)
{
  guint count[H2K_VM_BUS_VIRTIO + 1] = {0};

  for (guint i = 0; i < ovf->items->len; i++)
    {
      const Item *item = ovf->items->pdata[i];
      guint type = number_or (item->type, 0);
      Controller *controller;
      if ((type != RESOURCE_IDE && type != RESOURCE_SCSI && type != RESOURCE_OTHER_STORAGE)
          || !item->instance)
        continue;
      controller = g_new0 (Controller, 1);
      controller->bus = controller_bus (type, item->subtype);
      controller->type = g_strdup (item->subtype);
      controller->number = number_or (item->address, count[controller->bus]);
      count[controller->bus] = controller->number + 1;
      g_hash_table_replace (ovf->controllers, g_strdup (item->instance), controller);
    }
}

/* oVirt's disks hang on no controllers. */
static void
place_by_interface (const xmlNode *node, H2kVmDisk *disk)
{
  static const struct
  {
    const char *word;
    H2kVmBus bus;
  } words[] = {
      {"IDE", H2K_VM_BUS_IDE},          {"SATA", H2K_VM_BUS_SATA},
      {"VirtIO", H2K_VM_BUS_VIRTIO},    {"VirtIO_SCSI", H2K_VM_BUS_SCSI},
      {"SPAPR_VSCSI", H2K_VM_BUS_SCSI},
  };
  g_autofree char *interface = h2k_ovf_attr (node, "disk-interface");

  for (gsize i = 0; interface && i < G_N_ELEMENTS (words); i++)
    if (g_ascii_strcasecmp (words[i].word, interface) == 0)
      {
        disk->bus = words[i].bus;
        disk->controller_type = g_strdup (interface);
      }
}

/* The Disk element of a HostResource: "ovf:/disk/ID", "/disk/ID", oVirt's fileRef. */
static xmlNode *
resolve_disk (const Ovf *ovf, const char *host)
{
  static const char *const prefixes[] = {"ovf:/disk/", "ovf://disk/", "/disk/"};

  for (gsize i = 0; i < G_N_ELEMENTS (prefixes); i++)
    if (g_str_has_prefix (host, prefixes[i]))
      return g_hash_table_lookup (ovf->disks, host + strlen (prefixes[i]));
  return g_hash_table_lookup (ovf->disks_of, host);
}

/* The File element of a HostResource "ovf:/file/ID", an image without a Disk. */
static xmlNode *
resolve_file (const Ovf *ovf, const char *host)
{
  static const char *const prefixes[] = {"ovf:/file/", "ovf://file/", "/file/"};

  for (gsize i = 0; i < G_N_ELEMENTS (prefixes); i++)
    if (g_str_has_prefix (host, prefixes[i]))
      return g_hash_table_lookup (ovf->files, host + strlen (prefixes[i]));
  return NULL;
}

/* What the drive ITEM holds; without a HostResource, an empty disk of the size it says. */
static H2kVmDisk *
disk_of_item (const Ovf *ovf, const Item *item, GError **error)
{
  const xmlNode *node = item->host ? resolve_disk (ovf, item->host) : NULL;
  const xmlNode *file = item->host && !node ? resolve_file (ovf, item->host) : NULL;
  g_autoptr (H2kVmDisk) disk = NULL;

  if (node)
    {
      disk = new_disk (ovf, node, error);
      if (!disk || !read_parents (ovf, disk, error))
        return NULL;
      place_by_interface (node, disk);
      return g_steal_pointer (&disk);
    }
  if (file)
    {
      disk = g_new0 (H2kVmDisk, 1);
      return read_file (ovf, file, disk, error) ? g_steal_pointer (&disk) : NULL;
    }
  if (!item->host && item->quantity)
    {
      const char *units = item->units ? item->units : "byte";
      disk = g_new0 (H2kVmDisk, 1);
      return parse_bytes (ovf, item->quantity, units, &disk->capacity, error)
                 ? g_steal_pointer (&disk)
                 : NULL;
    }
  set_error (ovf, error, H2K_ERROR_FORMAT, item->host ? item->host : item->instance,
             item->host
                 ? "is what a disk drive holds, but no Disk of that id is listed; export the "
                   "VM again"
                 : "is a disk drive with neither a HostResource nor a size, so that its "
                   "content is not known; export the VM again");
  return NULL;
}

static gboolean
add_disk (Ovf *ovf, const Item *item, GError **error)
{
  H2kVmDisk *disk = disk_of_item (ovf, item, error);
  const Controller *controller
      = item->parent ? g_hash_table_lookup (ovf->controllers, item->parent) : NULL;

  if (!disk)
    return FALSE;
  disk->unit = number_or (item->unit, 0);
  if (controller)
    {
      g_free (disk->controller_type);
      disk->bus = controller->bus;
      disk->controller = controller->number;
      disk->controller_type = g_strdup (controller->type);
    }
  if (item->instance)
    g_hash_table_replace (ovf->by_instance, g_strdup (item->instance), disk);
  return h2k_vm_add_disk (ovf->vm, disk, ovf->name, error);
}

/* TEXT, with or without separators, as a MAC. */
static char *
parse_mac (const char *text)
{
  g_autofree char *spaced = NULL;

  if (!text || strlen (text) != 12)
    return text ? h2k_mac_parse (text) : NULL;
  spaced = g_strdup_printf ("%.2s:%.2s:%.2s:%.2s:%.2s:%.2s", text, text + 2, text + 4, text + 6,
                            text + 8, text + 10);
  return h2k_mac_parse (spaced);
}

static gboolean
add_nic (Ovf *ovf, const Item *item, GError **error)
{
  /* oVirt numbers its models. */
  static const char *const models[]
      = {"rtl8139_virtio", "rtl8139", "e1000", "virtio", "spapr-vlan"};
  H2kVmNic *nic = g_new0 (H2kVmNic, 1);
  guint model = number_or (item->subtype, G_MAXUINT);

  nic->mac = parse_mac (item->mac ? item->mac : item->address);
  nic->network = g_strdup (item->connection);
  nic->model = g_strdup (model < G_N_ELEMENTS (models) ? models[model] : item->subtype);
  return h2k_vm_add_nic (ovf->vm, nic, ovf->name, error);
}

/* oVirt gives no quantity of CPUs, but a topology. */
static gboolean
add_cpus (Ovf *ovf, const Item *item, GError **error)
{
  guint64 n = (guint64)number_or (item->sockets, 1) * number_or (item->cores, 1)
              * number_or (item->threads, 1);

  if ((item->quantity && !parse_number (item->quantity, G_MAXUINT16, &n))
      || n > G_MAXUINT16 - ovf->vm->vcpus)
    {
      set_error (ovf, error, H2K_ERROR_FORMAT, item->quantity, "is no number of CPUs");
      return FALSE;
    }
  if (item->quantity || item->sockets || item->cores)
    ovf->vm->vcpus += (guint)n;
  return TRUE;
}

/* Without units small numbers cannot be bytes, whatever the default. */
static gboolean
add_memory (Ovf *ovf, const Item *item, GError **error)
{
  const char *units = item->units;
  guint64 number, bytes, mib = 1024 * 1024;

  if (!item->quantity)
    return TRUE;
  if (!units)
    units = parse_number (item->quantity, mib - 1, &number) ? "byte * 2^20" : "byte";
  if (!parse_bytes (ovf, item->quantity, units, &bytes, error))
    return FALSE;
  ovf->vm->memory_mib += bytes / mib + (bytes % mib != 0);
  if (ovf->vm->memory_mib <= G_MAXINT64 / mib)
    return TRUE;
  set_error (ovf, error, H2K_ERROR_FORMAT, item->quantity, "is more memory than a VM can have");
  return FALSE;
}

static gboolean
add_other (Ovf *ovf, const Item *item, GError **error)
{
  if ((item->subtype && strstr (item->subtype, "vtpm")) || g_strcmp0 (item->device, "tpm") == 0)
    ovf->vm->has_tpm = TRUE;
  return TRUE;
}

static const struct
{
  guint type;
  gboolean (*add) (Ovf *ovf, const Item *item, GError **error);
} devices[] = {
    {0, add_other},
    {RESOURCE_OTHER, add_other},
    {RESOURCE_CPU, add_cpus},
    {RESOURCE_MEMORY, add_memory},
    {RESOURCE_ETHERNET, add_nic},
    {RESOURCE_DISK, add_disk},
    {RESOURCE_LOGICAL_DISK, add_disk},
};

static gboolean
read_hardware (Ovf *ovf, GError **error)
{
  read_items (ovf);
  read_controllers (ovf);
  for (guint i = 0; i < ovf->items->len; i++)
    {
      const Item *item = ovf->items->pdata[i];
      for (gsize d = 0; d < G_N_ELEMENTS (devices); d++)
        if (devices[d].type == number_or (item->type, G_MAXUINT)
            && !devices[d].add (ovf, item, error))
          return FALSE;
    }
  return TRUE;
}

/* --- boot order ------------------------------------------------------------------------------- */

/* VMware: sections that name items by InstanceID. */
static guint
order_by_sections (Ovf *ovf, const xmlNode *parent, guint place)
{
  for (const xmlNode *n = parent ? parent->children : NULL; n; n = n->next)
    {
      g_autofree char *instance = NULL;
      H2kVmDisk *disk;
      if (n->type != XML_ELEMENT_NODE || strcmp ((const char *)n->name, "BootOrderSection") != 0)
        continue;
      instance = h2k_ovf_attr_ns (n, H2K_OVF_NS_VMWARE, "instanceId");
      disk = instance ? g_hash_table_lookup (ovf->by_instance, instance) : NULL;
      if (disk)
        h2k_vm_move_disk (ovf->vm, disk, place++);
    }
  return place;
}

/* oVirt: a number of the item, or a flag of the disk. */
static void
order_by_items (Ovf *ovf)
{
  guint best = G_MAXUINT;
  H2kVmDisk *first = NULL;

  for (guint i = 0; i < ovf->items->len; i++)
    {
      const Item *item = ovf->items->pdata[i];
      H2kVmDisk *disk
          = item->instance ? g_hash_table_lookup (ovf->by_instance, item->instance) : NULL;
      const xmlNode *node = disk && disk->id ? g_hash_table_lookup (ovf->disks, disk->id) : NULL;
      g_autofree char *boot = node ? h2k_ovf_attr (node, "boot") : NULL;
      guint order = number_or (item->boot_order, 0);
      if (order == 0)
        order = boot && g_ascii_strcasecmp (boot, "true") == 0 ? G_MAXUINT - 1 : G_MAXUINT;
      if (disk && order < best)
        {
          best = order;
          first = disk;
        }
    }
  if (first)
    h2k_vm_move_disk (ovf->vm, first, 0);
}

/* --- firmware and the rest -------------------------------------------------------------------- */

static gboolean
is_true (const char *text)
{
  return text && (g_ascii_strcasecmp (text, "true") == 0 || strcmp (text, "1") == 0);
}

static void
set_firmware (H2kVm *vm, const char *word)
{
  if (g_ascii_strncasecmp (word, "efi", 3) == 0 || g_ascii_strncasecmp (word, "uefi", 4) == 0)
    vm->firmware = H2K_VM_FIRMWARE_UEFI;
  else if (g_ascii_strncasecmp (word, "bios", 4) == 0)
    vm->firmware = H2K_VM_FIRMWARE_BIOS;
}

/* <vmw:Config vmw:key="firmware" vmw:value="efi"/> and ExtraConfig, as in a .vmx. */
static void
read_vmware (Ovf *ovf)
{
  for (const xmlNode *n = ovf->hardware->children; n; n = n->next)
    {
      g_autofree char *key = NULL, *value = NULL;
      if (n->type != XML_ELEMENT_NODE || h2k_ovf_ns (n->ns) != H2K_OVF_NS_VMWARE)
        continue;
      key = h2k_ovf_attr_ns (n, H2K_OVF_NS_VMWARE, "key");
      value = h2k_ovf_attr_ns (n, H2K_OVF_NS_VMWARE, "value");
      if (!key || !value)
        continue;
      if (strcmp (key, "firmware") == 0)
        set_firmware (ovf->vm, value);
      else if (strcmp (key, "bootOptions.efiSecureBootEnabled") == 0
               || strcmp (key, "uefi.secureBoot.enabled") == 0)
        ovf->vm->secure_boot = is_true (value);
      else if (strcmp (key, "vtpm.present") == 0)
        ovf->vm->has_tpm = is_true (value);
    }
}

/* One element of VirtualBox's own settings; NIC counts the enabled adapters. */
static void
read_virtualbox_element (Ovf *ovf, const xmlNode *node, guint *nic)
{
  const char *name = (const char *)node->name;
  g_autofree char *type = h2k_ovf_attr (node, "type");
  g_autofree char *enabled = h2k_ovf_attr (node, "enabled");

  if (strcmp (name, "Firmware") == 0 && type)
    set_firmware (ovf->vm, type);
  else if (strcmp (name, "TrustedPlatformModule") == 0)
    ovf->vm->has_tpm = type && g_ascii_strcasecmp (type, "None") != 0;
  else if (strcmp (name, "SecureBoot") == 0 && enabled)
    ovf->vm->secure_boot = is_true (enabled);
  else if (strcmp (name, "Adapter") == 0 && is_true (enabled) && *nic < ovf->vm->nics->len)
    {
      g_autofree char *mac = h2k_ovf_attr (node, "MACAddress");
      H2kVmNic *known = ovf->vm->nics->pdata[(*nic)++];
      if (!known->mac)
        known->mac = parse_mac (mac);
    }
}

/* VirtualBox adds a machine in its own format, with what OVF has no words for. Its states in
 * snapshots are of no interest. */
static void
read_virtualbox (Ovf *ovf)
{
  const xmlNode *machine = ovf->system->children;
  xmlNode *node;
  guint nic = 0;

  while (machine
         && (machine->type != XML_ELEMENT_NODE
             || strcmp ((const char *)machine->name, "Machine") != 0
             || h2k_ovf_ns (machine->ns) != H2K_OVF_NS_VIRTUALBOX))
    machine = machine->next;
  node = machine ? machine->children : NULL;
  while (node)
    {
      gboolean skip
          = node->type != XML_ELEMENT_NODE || strcmp ((const char *)node->name, "Snapshot") == 0;
      if (!skip)
        read_virtualbox_element (ovf, node, &nic);
      node = following (machine, node, !skip);
    }
}

/* oVirt: <BiosType>, whose numbers moved by one in version 4.4. */
static void
read_ovirt (Ovf *ovf)
{
  g_autofree char *text = h2k_ovf_text (h2k_ovf_child (ovf->system, "BiosType"));
  g_autofree char *version = h2k_ovf_attr (ovf->envelope, "version");
  guint type = number_or (text, 0);

  if (!text)
    return;
  if (version && g_ascii_strtod (version, NULL) < 4.4)
    type++;
  if (type == 1 || type == 2)
    ovf->vm->firmware = H2K_VM_FIRMWARE_BIOS;
  else if (type == 3 || type == 4)
    ovf->vm->firmware = H2K_VM_FIRMWARE_UEFI;
  ovf->vm->secure_boot = type == 4;
}

static void
read_guest (Ovf *ovf)
{
  const xmlNode *os = h2k_ovf_child (ovf->system, "OperatingSystemSection");

  if (!os) /* oVirt has it inside the hardware's section in some versions */
    os = h2k_ovf_child (ovf->hardware, "OperatingSystemSection");
  ovf->vm->name = system_name (ovf->system);
  if (!ovf->vm->name)
    ovf->vm->name = g_strdup ("vm");
  ovf->vm->os_hint = h2k_ovf_text (h2k_ovf_child (os, "Description"));
  if (!ovf->vm->os_hint)
    ovf->vm->os_hint = h2k_ovf_attr_ns (os, H2K_OVF_NS_VMWARE, "osType");
}

static gboolean
parse_envelope (Ovf *ovf, GError **error)
{
  guint place;

  if (!ovf->envelope || !h2k_ovf_is (ovf->envelope, "Envelope"))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: is XML, but not an OVF: its first element is not an Envelope of DMTF's",
                   ovf->name);
      return FALSE;
    }
  if (!choose_system (ovf, error) || !read_references (ovf, error))
    return FALSE;
  ovf->configuration = default_configuration (ovf->envelope);
  read_guest (ovf);
  if (!read_hardware (ovf, error))
    return FALSE;
  order_by_items (ovf);
  place = order_by_sections (ovf, ovf->system, 0);
  order_by_sections (ovf, ovf->hardware, place);
  read_ovirt (ovf);
  read_virtualbox (ovf);
  read_vmware (ovf);
  return TRUE;
}

H2kVm *
h2k_ovf_parse (const char *text, gsize size, const char *name, GError **error)
{
  g_autofree char *copy = h2k_description_copy (text, size, name, error);
  xmlDoc *doc = copy ? h2k_ovf_load (copy, name, error) : NULL;
  g_auto (Ovf) ovf = {.name = name};
  gboolean ok;

  if (!doc)
    return NULL;
  ovf.envelope = xmlDocGetRootElement (doc);
  ovf.items = g_ptr_array_new_with_free_func ((GDestroyNotify)item_free);
  ovf.files = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  ovf.disks = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  ovf.disks_of = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  ovf.controllers
      = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)controller_free);
  ovf.by_instance = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  ovf.vm = h2k_vm_new ();
  ok = parse_envelope (&ovf, error);
  xmlFreeDoc (doc);
  return ok ? g_steal_pointer (&ovf.vm) : NULL;
}
