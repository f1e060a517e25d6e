/* disk.c - looks at one disk: what is on it, whether it boots, and what a VM of it needs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/file.h"
#include "disk/remote.h"
#include "guest/product.h"
#include "migrate/discover/discover.h"
#include "migrate/sizing.h"
#include "migrate/migrate.h"
#include "source/appliance.h"

#include <errno.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- sources ---------------------------------------------------------------------------------- */

DiscoverSource *
discover_source_new (const char *path, H2kAttached *attached)
{
  DiscoverSource *source = g_new0 (DiscoverSource, 1);

  source->path = g_strdup (path);
  source->shown = h2k_file_is_uri (path) ? h2k_uri_shown (path) : g_strdup (path);
  source->attached = attached;
  source->is_appliance = g_str_has_suffix (path, ".ova") && attached && !attached->is_device;
  return source;
}

void
discover_source_free (DiscoverSource *source)
{
  if (!source)
    return;
  g_free (source->path);
  g_free (source->shown);
  h2k_attached_free (source->attached);
  g_clear_error (&source->problem);
  g_free (source);
}

/* --- members ---------------------------------------------------------------------------------- */

void
discover_set_text (JsonObject *object, const char *name, const char *text)
{
  g_autofree char *safe = text ? h2k_escape_text (text, -1) : NULL;

  if (safe)
    json_object_set_string_member (object, name, g_strdelimit (safe, "\n\t", ' '));
  else
    json_object_set_null_member (object, name);
}

void
discover_set_number (JsonObject *object, const char *name, guint64 number)
{
  json_object_set_int_member (object, name, (gint64)MIN (number, G_MAXINT64));
}

JsonArray *
discover_array (JsonObject *object, const char *name)
{
  if (!json_object_has_member (object, name))
    json_object_set_array_member (object, name, json_array_new ());
  return json_object_get_array_member (object, name);
}

void
discover_add_text (JsonObject *object, const char *name, const char *text)
{
  g_autofree char *safe = h2k_escape_text (text, -1);

  json_array_add_string_element (discover_array (object, name), g_strdelimit (safe, "\n\t", ' '));
}

const char *
discover_text (JsonObject *object, const char *name)
{
  JsonNode *node = json_object_get_member (object, name);

  return node && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;
}

JsonObject *
discover_object (JsonObject *object, const char *name)
{
  JsonNode *node = json_object_get_member (object, name);

  return node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

/* --- what the host knows ---------------------------------------------------------------------- */

static const struct
{
  H2kUse use;
  const char *name;
} use_names[] = {
    {H2K_USE_MOUNTED, "mounted"}, {H2K_USE_SWAP, "swap"},   {H2K_USE_LVM, "lvm"},
    {H2K_USE_MD, "md"},           {H2K_USE_CRYPT, "crypt"}, {H2K_USE_MULTIPATH, "multipath"},
    {H2K_USE_DM, "dm"},           {H2K_USE_LOOP, "loop"},   {H2K_USE_STACKED, "stacked"},
    {H2K_USE_ZFS, "zfs"},         {H2K_USE_QEMU, "qemu"},   {H2K_USE_EXCLUSIVE, "exclusive"},
};

static void
set_users (JsonObject *disk, const H2kAttached *attached)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < attached->users->len; i++)
    {
      const H2kAttachedUser *user = attached->users->pdata[i];
      JsonObject *object = json_object_new ();
      discover_set_text (object, "device", user->device);
      discover_set_text (object, "text", user->text);
      for (gsize k = 0; k < G_N_ELEMENTS (use_names); k++)
        if (user->uses & use_names[k].use)
          discover_add_text (object, "uses", use_names[k].name);
      for (guint k = 0; k < user->stack->len; k++)
        discover_add_text (object, "stack", user->stack->pdata[k]);
      for (guint k = 0; k < user->mountpoints->len; k++)
        discover_add_text (object, "mountpoints", user->mountpoints->pdata[k]);
      json_array_add_object_element (array, object);
    }
  json_object_set_array_member (disk, "users", array);
  json_object_set_boolean_member (disk, "in_use", attached->users->len > 0);
}

static const char *
kind_of (const DiscoverSource *source)
{
  const H2kAttached *attached = source->attached;

  if (!attached)
    return h2k_file_is_uri (source->path) ? "remote" : "unknown";
  return source->is_appliance     ? "appliance"
         : !attached->is_device   ? "image"
         : attached->is_partition ? "partition"
                                  : "disk";
}

JsonObject *
discover_describe (const DiscoverSource *source)
{
  const H2kAttached *attached = source->attached;
  JsonObject *disk = json_object_new ();

  discover_set_text (disk, "path", source->shown);
  discover_set_text (disk, "kind", kind_of (source));
  if (!attached)
    return disk;
  discover_set_number (disk, "size", attached->size);
  discover_set_number (disk, "logical_sector_size", attached->logical_sector);
  discover_set_number (disk, "physical_sector_size", attached->physical_sector);
  json_object_set_boolean_member (disk, "read_only", attached->read_only);
  discover_set_text (disk, "transport", attached->transport);
  if (attached->is_device)
    {
      discover_set_text (disk, "by_id", attached->by_id);
      discover_set_text (disk, "model", attached->model);
      discover_set_text (disk, "serial", attached->serial);
      json_object_set_boolean_member (disk, "removable", attached->removable);
      json_object_set_boolean_member (disk, "rotational", attached->rotational);
      discover_set_text (disk, "whole_disk", attached->whole_disk);
      discover_set_text (disk, "backing_file", attached->backing_file);
    }
  set_users (disk, attached);
  return disk;
}

/* --- what cannot be read ---------------------------------------------------------------------- */

void
discover_set_error (JsonObject *disk, const GError *error, const char *advice)
{
  JsonObject *object = json_object_new ();
  gboolean ours = error->domain == H2K_ERROR;

  discover_set_text (object, "code", h2k_error_name (ours ? error->code : H2K_ERROR_FAILED));
  discover_set_text (object, "message", error->message);
  discover_set_text (object, "advice", advice);
  json_object_set_object_member (disk, "error", object);
  json_object_set_boolean_member (disk, "readable", FALSE);
}

/* Who may read PATH; the caller's. */
static char *
who_may_read (const char *path)
{
  struct stat st = {0};
  struct group entry, *group = NULL;
  char buffer[4096];

  if (geteuid () == 0)
    return g_strdup ("root may not either: run this on the host itself, or allow the container the "
                     "device");
  if (stat (path, &st) == 0 && st.st_mode & S_IRGRP && st.st_gid != 0
      && getgrgid_r (st.st_gid, &entry, buffer, sizeof buffer, &group) == 0 && group)
    return g_strdup_printf ("run this as root, or as a member of the group \"%s\"", group->gr_name);
  return g_strdup (S_ISREG (st.st_mode) ? "run this as root, or as the file's owner"
                                        : "run this as root");
}

/* Why the source cannot be opened, if it is known already. */
static gboolean
check_access (const DiscoverSource *source, JsonObject *disk)
{
  int err = source->attached->is_device                  ? source->attached->open_errno
            : access (source->attached->path, R_OK) != 0 ? errno
                                                         : 0;
  g_autoptr (GError) error = NULL;
  g_autofree char *advice = NULL;

  if (err == 0)
    return TRUE;
  h2k_set_errno (&error, H2K_ERROR_SOURCE, err, "%s: cannot be read", source->path);
  if (err == EACCES || err == EPERM)
    advice = who_may_read (source->path);
  discover_set_error (disk, error, advice);
  return FALSE;
}

/* --- the disks -------------------------------------------------------------------------------- */

static GPtrArray *
open_appliance (const char *path, GError **error)
{
  g_autoptr (H2kAppliance) appliance = h2k_appliance_open (path, "ova", error);
  GPtrArray *disks;

  if (!appliance)
    return NULL;
  disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  for (guint i = 0; i < appliance->disks->len; i++)
    g_ptr_array_add (disks, h2k_disk_ref (appliance->disks->pdata[i]));
  if (disks->len > 0)
    return disks;
  g_set_error (error, H2K_ERROR, H2K_ERROR_NO_OS, "%s: it has no disks", path);
  g_ptr_array_unref (disks);
  return NULL;
}

/* A device is what it is: its content does not make it an image of some format, which could name
 * any file of this host as its parent. */
static GPtrArray *
open_disks (const DiscoverSource *source, GError **error)
{
  const H2kAttached *attached = source->attached;
  GPtrArray *disks;
  H2kDisk *disk;

  if (source->is_appliance)
    return open_appliance (source->path, error);
  disk = h2k_disk_open (source->path, attached && attached->is_device ? "raw" : NULL, error);
  if (!disk)
    return NULL;
  disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  g_ptr_array_add (disks, disk);
  return disks;
}

static void
set_format (JsonObject *disk, const DiscoverSource *source, GPtrArray *disks)
{
  const H2kDisk *first = disks->pdata[0];
  guint64 size = 0;

  for (guint i = 0; i < disks->len; i++)
    size += ((const H2kDisk *)disks->pdata[i])->size;
  discover_set_text (disk, "format", first->format);
  discover_set_text (disk, "subformat", first->subformat);
  discover_set_number (disk, "virtual_size", size);
  discover_set_number (disk, "disks", disks->len);
  for (guint i = 0; (!source->attached || !source->attached->is_device) && i < first->files->len;
       i++)
    discover_add_text (disk, "files", first->files->pdata[i]);
  if (!source->attached || !source->attached->is_device)
    discover_set_number (disk, "logical_sector_size", first->sector_size);
}

/* --- the system ------------------------------------------------------------------------------- */

static void
set_product (JsonObject *system, H2kGuest *guest)
{
  g_autoptr (H2kProduct) product = h2k_guest_product (guest);
  g_autofree char *name = NULL;

  if (!product)
    return;
  discover_set_text (system, "product", product->id);
  discover_set_text (system, "product_version", product->version);
  name = g_strdup_printf ("%s %s", product->name, product->version);
  discover_set_text (system, "name", name);
}

static void
set_system (JsonObject *disk, H2kGuest *guest)
{
  JsonObject *system = json_object_new ();

  discover_set_text (system, "source", "files");
  discover_set_text (system, "name", guest->pretty_name);
  discover_set_text (system, "distro", guest->distro);
  discover_set_text (system, "version", guest->version);
  discover_set_text (system, "pretty_name", guest->pretty_name);
  discover_set_text (system, "hostname", guest->hostname);
  discover_set_text (system, "architecture", guest->arch);
  set_product (system, guest);
  json_object_set_object_member (disk, "system", system);
  for (guint i = 0; i < guest->warnings->len; i++)
    discover_add_text (disk, "warnings", guest->warnings->pdata[i]);
}

/* Where files cannot be read, the loader tells what it starts. */
static void
take_hint (JsonObject *disk)
{
  JsonObject *hint = discover_object (disk, "loader_hint"), *system;

  if (discover_object (disk, "system") || !hint)
    return;
  system = json_object_new ();
  discover_set_text (system, "source", "boot loader");
  discover_set_text (system, "name", discover_text (hint, "name"));
  discover_set_text (system, "distro", discover_text (hint, "distro"));
  discover_set_text (system, "kernel", discover_text (hint, "kernel"));
  json_object_set_object_member (disk, "system", system);
}

/* --- pools ------------------------------------------------------------------------------------ */

static gboolean
same_pool (const H2kZfsLabel *a, const H2kZfsLabel *b)
{
  return a->pool_guid == b->pool_guid;
}

static void
set_guid (JsonObject *object, const char *name, guint64 guid)
{
  g_autofree char *text = g_strdup_printf ("%" G_GUINT64_FORMAT, guid);

  discover_set_text (object, name, text);
}

/* MEMBERS are the labels of one pool, the first one the newest. */
static JsonObject *
pool_of (const GPtrArray *members)
{
  const H2kZfsLabel *label = members->pdata[0];
  JsonObject *pool = json_object_new ();
  g_autofree char *missing = NULL;
  gboolean complete = h2k_zfs_is_complete (members, &missing);

  discover_set_text (pool, "type", "zfs");
  discover_set_text (pool, "name", label->pool);
  set_guid (pool, "guid", label->pool_guid);
  discover_set_text (pool, "hostname", label->hostname);
  discover_set_number (pool, "host_id", label->host_id);
  discover_set_number (pool, "version", label->version);
  discover_set_text (pool, "state", h2k_zfs_state_name (label->state));
  discover_set_number (pool, "txg", label->txg);
  discover_set_text (pool, "vdev", label->top ? label->top->type : NULL);
  discover_set_number (pool, "top_level_vdevs", label->tops);
  discover_set_number (pool, "members_here", members->len);
  json_object_set_boolean_member (pool, "sound", label->is_sound);
  json_object_set_boolean_member (pool, "complete", complete);
  discover_set_text (pool, "missing", missing);
  return pool;
}

/* Spares and caches belong to a pool, but are no part of it. */
static gboolean
is_part (const H2kZfsLabel *label)
{
  return label->pool && label->state != H2K_ZFS_SPARE && label->state != H2K_ZFS_CACHE;
}

static void
add_pools (JsonObject *disk, const GPtrArray *labels)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (g_int64_hash, g_int64_equal);

  for (guint i = 0; i < labels->len; i++)
    {
      const H2kZfsLabel *label = labels->pdata[i];
      g_autoptr (GPtrArray) members = g_ptr_array_new ();
      if (!is_part (label) || !g_hash_table_add (seen, (gpointer)&label->pool_guid))
        continue;
      for (guint k = i; k < labels->len; k++)
        if (is_part (labels->pdata[k]) && same_pool (label, labels->pdata[k]))
          {
            const H2kZfsLabel *other = labels->pdata[k];
            gboolean newer = members->len && other->txg > ((H2kZfsLabel *)members->pdata[0])->txg;
            g_ptr_array_insert (members, newer ? 0 : -1, labels->pdata[k]);
          }
      json_array_add_object_element (discover_array (disk, "pools"), pool_of (members));
    }
}

/* --- whether it boots alone ------------------------------------------------------------------- */

static void
add_lack (JsonObject *disk, const char *text)
{
  JsonArray *lacks = discover_array (disk, "lacks");

  for (guint i = 0; i < json_array_get_length (lacks); i++)
    if (g_str_equal (json_array_get_string_element (lacks, i), text))
      return;
  discover_add_text (disk, "lacks", text);
}

/* The pools whose files cannot be read hold the system, if anything does. */
static gboolean
lacks_of_pools (JsonObject *disk)
{
  JsonArray *pools = discover_array (disk, "pools");

  for (guint i = 0; i < json_array_get_length (pools); i++)
    {
      JsonObject *pool = json_array_get_object_element (pools, i);
      const char *missing = discover_text (pool, "missing");
      g_autofree char *text = missing ? g_strdup_printf ("of the ZFS pool %s: %s",
                                                         discover_text (pool, "name"), missing)
                                      : NULL;
      if (text)
        add_lack (disk, text);
    }
  return json_array_get_length (pools) > 0;
}

/* What keeps a volume from being read that may hold the system: something is missing, or it is only
 * locked or strange to us, which is not the firmware's or the guest's business. */
static gboolean
lacks_of_volumes (JsonObject *disk, const H2kStack *stack)
{
  gboolean any = FALSE;

  for (guint i = 0; i < stack->nodes->len; i++)
    {
      const H2kNode *node = stack->nodes->pdata[i];
      g_autofree char *text = NULL;
      if (!node->problem)
        continue;
      any = TRUE;
      text = strstr (node->problem->message, node->name)
                 ? g_strdup (node->problem->message)
                 : g_strdup_printf ("%s: %s", node->name, node->problem->message);
      if (node->problem->code == H2K_ERROR_SOURCE && !g_str_equal (node->id.type, "crypto_LUKS"))
        add_lack (disk, text);
      else
        discover_add_text (disk, "warnings", text);
    }
  return any;
}

/* WHY is what the search for a system ended with; NULL: there is one. */
static void
judge (JsonObject *disk, const H2kStack *stack, const GError *why)
{
  gboolean starts = !g_str_equal (discover_text (disk, "firmware"), "none");
  gboolean hidden = FALSE, bootable;

  discover_array (disk, "lacks");
  if (why)
    {
      gboolean pools = lacks_of_pools (disk), volumes = lacks_of_volumes (disk, stack);
      hidden = pools || volumes || discover_object (disk, "system") || why->code != H2K_ERROR_NO_OS;
      if (why->code == H2K_ERROR_SOURCE && !pools && !volumes)
        add_lack (disk, why->message);
      discover_set_text (disk, "why_no_system", why->message);
    }
  bootable = starts && (!why || hidden);
  if (!starts && (!why || discover_object (disk, "system")))
    add_lack (disk, "a boot loader: neither the boot sector nor an EFI system partition has one "
                    "that can be started");
  json_object_set_boolean_member (disk, "bootable", bootable);
  json_object_set_boolean_member (
      disk, "boots_alone", bootable && json_array_get_length (discover_array (disk, "lacks")) == 0);
}

/* --- memory and CPUs -------------------------------------------------------------------------- */

static void
set_resources (JsonObject *disk, const DiscoverHost *host, const H2kGuest *guest)
{
  JsonObject *system = discover_object (disk, "system"), *object;
  const char *name = system ? discover_text (system, "name") : NULL;
  const char *product = system && guest                    ? discover_text (system, "product")
                        : name && strstr (name, "Proxmox") ? "proxmox-ve"
                                                           : NULL;
  gboolean is_windows = name && g_str_has_prefix (name, "Windows");
  g_autofree char *id = guest ? h2k_guest_osinfo_id (guest) : NULL;
  g_auto (H2kSizing) sizing = {0};

  h2k_size_guest (guest, product, is_windows, host->memory_mib, host->cpus, &sizing);
  object = json_object_new ();
  discover_set_number (object, "memory_mib", sizing.memory_mib);
  discover_set_number (object, "vcpus", sizing.vcpus);
  discover_set_text (object, "why_memory", sizing.why_memory);
  discover_set_text (object, "why_vcpus", sizing.why_vcpus);
  discover_set_text (object, "osinfo", id);
  json_object_set_object_member (disk, "resources", object);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void
look_into (const DiscoverHost *host, GPtrArray *disks, JsonObject *disk, GError **error)
{
  g_autoptr (H2kKeys) keys = host->keys->len ? h2k_keys_parse (host->keys, NULL) : NULL;
  const H2kGuestOptions options = {.backend = H2K_BACKEND_NATIVE, .keys = keys, .any_system = TRUE};
  g_autoptr (GPtrArray) labels
      = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_zfs_label_free);
  g_autoptr (GError) why = NULL;
  g_autoptr (H2kGuest) guest = h2k_guest_open (disks, &options, &why);
  g_autoptr (H2kStack) own = guest ? NULL : h2k_stack_new (disks, keys, error);
  const H2kStack *stack = guest ? guest->stack : own;

  if (!stack)
    return;
  discover_parts (disk, stack, guest, labels);
  discover_boot (disk, disks->pdata[0], stack);
  add_pools (disk, labels);
  discover_array (disk, "pools");
  json_object_set_null_member (disk, "system");
  if (guest)
    set_system (disk, guest);
  take_hint (disk);
  judge (disk, stack, why);
  if (json_object_get_boolean_member (disk, "bootable") || guest)
    set_resources (disk, host, guest);
  else
    json_object_set_null_member (disk, "resources");
}

void
discover_look (const DiscoverSource *source, const DiscoverHost *host, JsonObject *disk)
{
  g_autoptr (GPtrArray) disks = NULL;
  g_autoptr (GError) error = NULL;

  if (source->problem)
    {
      discover_set_error (disk, source->problem, NULL);
      return;
    }
  if (source->attached)
    {
      h2k_attached_try_open ("", source->attached);
      set_users (disk, source->attached);
      if (!check_access (source, disk))
        return;
    }
  disks = open_disks (source, &error);
  if (disks)
    {
      set_format (disk, source, disks);
      json_object_set_boolean_member (disk, "readable", TRUE);
      look_into (host, disks, disk, &error);
    }
  if (error)
    discover_set_error (disk, error, NULL);
}
