/* initramfs.c - every installed kernel finds its root on virtio: what its initramfs lacks is
 * appended to it, and the generator is configured so that later ones have it, too.
 *
 * Which drivers an image has is read from the image itself. virtio_net is only added where the
 * image has other network drivers (a root on the network, a remote unlock). Elsewhere the interface
 * shall first appear to the root's own udev: the naming rules in an image are copies of the day on
 * which it was made, those that the network repair has just changed or removed included, and an
 * interface that they have named would have to be renamed a second time (systemd.link(5), "Name=").
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/initramfs-config.h"
#include "repair/initramfs-image.h"
#include "repair/initramfs-segment.h"
#include "repair/modules.h"
#include "repair/edit.h"
#include "repair/repairs.h"

#include <stdio.h>

#define MAX_INDEX (32u << 20)
#define SPACE_RESERVE (64u << 10) /* for the filesystem's own blocks */

typedef enum
{
  DRIVER_ESSENTIAL, /* the guest does not boot from virtio-blk without it */
  DRIVER_USEFUL,    /* it does, but not from virtio-scsi */
  DRIVER_NETWORK,   /* only where the image has network drivers */
} DriverKind;

static const struct
{
  const char *name;
  const char *config; /* what the kernel's configuration calls it */
  DriverKind kind;
} drivers[] = {
    {"virtio_pci", "CONFIG_VIRTIO_PCI", DRIVER_ESSENTIAL},
    {"virtio_blk", "CONFIG_VIRTIO_BLK", DRIVER_ESSENTIAL},
    {"virtio_scsi", "CONFIG_SCSI_VIRTIO", DRIVER_USEFUL},
    {"sd_mod", "CONFIG_BLK_DEV_SD", DRIVER_USEFUL},
    {"virtio_net", "CONFIG_VIRTIO_NET", DRIVER_NETWORK},
};

/* One kernel. */
typedef struct
{
  H2kRepairContext *context;
  const H2kKernel *kernel;
  H2kModules *modules;
  GPtrArray *wanted; /* const char *: drivers that are modules and that the image should have */
} Job;

static gboolean G_GNUC_PRINTF (3, 4) fail (const Job *job, GError **error, const char *format, ...)
{
  g_autofree char *what = NULL;
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  text = h2k_escape_text (what, -1);
  g_set_error_literal (error, H2K_ERROR, H2K_ERROR_REPAIR, text);
  return FALSE;
}

/* --- the kernel's modules --------------------------------------------------------------------- */

static GBytes *
read_index (const Job *job, const char *name, GError **error)
{
  g_autofree char *path = g_build_filename (job->kernel->modules_dir, name, NULL);
  return h2k_tree_read_optional (job->context->guest->tree, path, MAX_INDEX, error);
}

/* Kernels before 2.6.33 have no modules.builtin; their configuration says the same. */
static void
add_builtin_by_config (Job *job)
{
  g_autofree char *path = g_strconcat ("/boot/config-", job->kernel->version, NULL);
  g_autoptr (GBytes) data = h2k_tree_read_optional (job->context->guest->tree, path, 0, NULL);
  g_autoptr (H2kLines) lines = data ? h2k_lines_new (data) : NULL;

  for (guint d = 0; lines && d < G_N_ELEMENTS (drivers); d++)
    {
      g_autofree char *set = g_strconcat (drivers[d].config, "=y", NULL);
      for (guint i = 0; i < h2k_lines_count (lines); i++)
        if (g_str_equal (h2k_lines_get (lines, i), set))
          g_hash_table_add (job->modules->builtin, g_strdup (drivers[d].name));
    }
}

static gboolean
read_modules (Job *job, GError **error)
{
  static const char *const names[]
      = {"modules.dep", "modules.softdep", "modules.alias", "modules.builtin"};
  GBytes *data[G_N_ELEMENTS (names)] = {NULL};
  GError *local = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (names) && job->kernel->modules_dir && !local; i++)
    data[i] = read_index (job, names[i], &local);
  job->modules = h2k_modules_new (job->kernel->version, data[0], data[1], data[2], data[3]);
  if (!data[3])
    add_builtin_by_config (job);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    g_clear_pointer (&data[i], g_bytes_unref);
  if (!local)
    return TRUE;
  fail (job, error, "kernel %s: its module indexes cannot be read: %s", job->kernel->version,
        local->message);
  g_error_free (local);
  return FALSE;
}

/* Sort the drivers into built-in ones, wanted ones and ones that the guest lacks. */
static gboolean
choose_drivers (Job *job, GError **error)
{
  for (guint i = 0; i < G_N_ELEMENTS (drivers); i++)
    {
      const char *name = drivers[i].name;
      if (g_hash_table_contains (job->modules->builtin, name))
        continue;
      if (g_hash_table_contains (job->modules->paths, name))
        g_ptr_array_add (job->wanted, (gpointer)name);
      else if (drivers[i].kind == DRIVER_ESSENTIAL)
        return fail (job, error,
                     "kernel %s has no driver %s, neither built in nor as a module in "
                     "/lib/modules/%s; install the distribution's complete kernel package in the "
                     "guest, or make another kernel GRUB's default",
                     job->kernel->version, name, job->kernel->version);
      else if (drivers[i].kind == DRIVER_USEFUL)
        h2k_repair_warn (job->context,
                         "kernel %s has no driver %s: it boots from virtio-blk, not from "
                         "virtio-scsi",
                         job->kernel->version, name);
    }
  return TRUE;
}

/* --- the image -------------------------------------------------------------------------------- */

static GBytes *
read_image (guint64 offset, gsize length, gpointer data, GError **error)
{
  const Job *job = data;
  return h2k_tree_read_range (job->context->guest->tree, job->kernel->initramfs, offset, length,
                              error);
}

static H2kInitramfs *
open_image (Job *job, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kInitramfs) image = NULL;
  H2kStat st;

  if (h2k_tree_stat (job->context->guest->tree, job->kernel->initramfs, &st, &local))
    image = h2k_initramfs_read (read_image, job, st.size, 0, &local);
  if (!image)
    fail (job, error,
          "%s: virtio cannot be added to this initramfs: %s; make a new one in the guest, or make "
          "another kernel GRUB's default",
          job->kernel->initramfs, local->message);
  return g_steal_pointer (&image);
}

/* Whether the image can set up a network interface. */
static gboolean
has_network_drivers (GHashTable *present)
{
  GHashTableIter iter;
  const char *path;

  g_hash_table_iter_init (&iter, present);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *)&path))
    if (strstr (path, "/drivers/net/") && !strstr (path, "/drivers/net/phy/")
        && !strstr (path, "/drivers/net/mdio/"))
      return TRUE;
  return FALSE;
}

/* Drop what this image needs not; whether all of the rest is there. */
static gboolean
is_complete (Job *job, const H2kInitramfs *image)
{
  g_autoptr (GHashTable) present = h2k_initramfs_modules (image, job->kernel->version);
  gboolean complete = TRUE;

  for (guint i = 0; i < G_N_ELEMENTS (drivers); i++)
    if (drivers[i].kind == DRIVER_NETWORK && !has_network_drivers (present))
      g_ptr_array_remove (job->wanted, (gpointer)drivers[i].name);
  for (guint i = 0; i < job->wanted->len; i++)
    if (!g_hash_table_contains (present, job->wanted->pdata[i]))
      complete = FALSE;
  return complete;
}

/* Kernels before 5.14 take zeros behind an lz4 stream for damage and stop. */
static gboolean
check_lz4_padding (const Job *job, const H2kInitramfs *image, GError **error)
{
  unsigned major = 0, minor = 0;

  if (image->payload != H2K_PAYLOAD_LZ4 || image->end == image->size
      || sscanf (job->kernel->version, "%u.%u", &major, &minor) != 2 || major > 5
      || (major == 5 && minor >= 14))
    return TRUE;
  return fail (job, error,
               "%s: virtio cannot be added to this initramfs: zeros follow its lz4 data, behind "
               "which kernel %s reads nothing; make a new initramfs in the guest",
               job->kernel->initramfs, job->kernel->version);
}

static char *
summary_of (const Job *job, const H2kInitramfsAddition *addition, GBytes *packed,
            H2kPayload payload)
{
  g_autofree char *plain = h2k_format_size (g_bytes_get_size (addition->archive));
  g_autofree char *size = h2k_format_size (g_bytes_get_size (packed));
  GString *text = g_string_new (NULL);

  g_string_printf (text, "%u modules with the module indexes, %s", addition->modules, plain);
  if (payload != H2K_PAYLOAD_NONE)
    g_string_append_printf (text, " (%s with %s)", size, h2k_payload_name (payload));
  for (guint i = 0; i < job->wanted->len; i++)
    g_string_append_printf (text, "%s%s", i ? " " : ": ", (const char *)job->wanted->pdata[i]);
  if (addition->resume)
    g_string_append (text, "; the device to resume from by its UUID");
  return g_string_free (text, FALSE);
}

static gboolean
append (Job *job, const H2kInitramfs *image, const H2kInitramfsAddition *addition, GError **error)
{
  H2kPayload payload;
  g_autoptr (GBytes) packed = h2k_initramfs_pack (image, addition->archive, &payload, error);
  g_autofree char *reason = NULL;
  g_autofree char *summary = NULL;
  guint64 available, needed;

  if (!packed)
    return FALSE;
  needed = g_bytes_get_size (packed) + SPACE_RESERVE;
  available = h2k_tree_free_space (job->context->guest->tree, job->kernel->initramfs);
  if (available < needed)
    {
      g_autofree char *need = h2k_format_size (needed);
      g_autofree char *have = h2k_format_size (available);
      return fail (job, error,
                   "%s: the virtio drivers need %s (%" G_GUINT64_FORMAT
                   " bytes) on the filesystem of this initramfs, and %s (%" G_GUINT64_FORMAT
                   " bytes) are free; remove an old kernel or its initramfs in the guest",
                   job->kernel->initramfs, need, needed, have, available);
    }
  reason = g_strdup_printf ("kernel %s could not read its root filesystem from a virtio disk",
                            job->kernel->version);
  summary = summary_of (job, addition, packed, payload);
  return h2k_repair_append (job->context, job->kernel->initramfs, packed, summary, reason, error);
}

/* What the image resumes from by a name that changes, as a name that does not; NULL: nothing, or
 * it cannot be known. initramfs-tools waits half a minute for a device that does not come. */
static char *
stable_resume (const Job *job, const H2kInitramfs *image)
{
  g_autoptr (GList) names = g_hash_table_get_keys (image->members);
  g_autofree char *spec = NULL;
  char *name = NULL;

  names = g_list_sort (names, (GCompareFunc)strcmp);
  for (GList *l = names; l; l = l->next)
    {
      const H2kInitramfsMember *member = h2k_initramfs_member (image, l->data);
      g_autoptr (H2kLines) lines = NULL;

      if (!member->content
          || !(g_str_has_prefix (l->data, "conf/conf.d/")
               || (!spec && g_str_equal (l->data, "conf/initramfs.conf"))))
        continue;
      lines = h2k_lines_new (member->content);
      for (guint i = 0; i < h2k_lines_count (lines); i++)
        {
          const char *line = h2k_lines_get (lines, i);
          gsize start, length;
          if (!h2k_repair_resume_value (line, &start, &length))
            continue;
          g_free (spec);
          spec = g_strndup (line + start, length);
        }
    }
  if (spec)
    h2k_repair_judge_name (job->context->guest, spec, H2K_NAME_FSTAB, &name);
  return name;
}

/* --- one kernel ------------------------------------------------------------------------------- */

typedef enum
{
  KERNEL_READY,  /* nothing was to do, or it was done */
  KERNEL_FAILED, /* it will not boot on virtio */
  KERNEL_ERROR,  /* the guest's filesystem could not be written */
} Outcome;

static gboolean
prepare (Job *job, H2kInitramfsAddition *addition, H2kInitramfs **image, GError **error)
{
  H2kInitramfsRequest request = {.tree = job->context->guest->tree,
                                 .kernel = job->kernel,
                                 .modules = job->modules,
                                 .drivers = job->wanted};
  g_autofree char *resume = NULL;
  g_autoptr (GError) local = NULL;

  *image = open_image (job, error);
  if (!*image)
    return FALSE;
  resume = stable_resume (job, *image);
  if (is_complete (job, *image) && !resume)
    return TRUE;
  request.image = *image;
  request.resume = resume;
  if (!check_lz4_padding (job, *image, error))
    return FALSE;
  if (!h2k_initramfs_make_addition (&request, addition, &local))
    return fail (job, error,
                 "%s: virtio cannot be added to this initramfs: %s; make one with virtio in the "
                 "guest, or make another kernel GRUB's default",
                 job->kernel->initramfs, local->message);
  return TRUE;
}

static gboolean
without_initramfs (Job *job, GError **error)
{
  const char *image = job->kernel->image;
  const char *lacking = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (drivers); i++)
    if (drivers[i].kind == DRIVER_ESSENTIAL
        && g_ptr_array_find (job->wanted, drivers[i].name, NULL))
      lacking = drivers[i].name;
  if (!lacking)
    return TRUE;
  if (g_str_has_suffix (image, ".efi") || g_str_has_suffix (image, ".EFI"))
    return fail (job, error,
                 "%s is a unified kernel image, to which no driver can be added from outside; add "
                 "%s to the initramfs configuration in the guest and make a new image",
                 image, lacking);
  return fail (job, error,
               "kernel %s has the driver %s as a module only and no initramfs to load it from; "
               "make an initramfs in the guest, or make another kernel GRUB's default",
               job->kernel->version, lacking);
}

static Outcome
repair_kernel (Job *job, GError **error)
{
  g_auto (H2kInitramfsAddition) addition = {0};
  g_autoptr (H2kInitramfs) image = NULL;

  if (!read_modules (job, error) || !choose_drivers (job, error))
    return KERNEL_FAILED;
  if (!job->kernel->initramfs)
    return without_initramfs (job, error) ? KERNEL_READY : KERNEL_FAILED;
  if (job->wanted->len == 0)
    return KERNEL_READY;
  if (!prepare (job, &addition, &image, error))
    return KERNEL_FAILED;
  if (!addition.archive)
    return KERNEL_READY;
  if (addition.only_by_udev)
    h2k_repair_warn (job->context,
                     "%s was made by a program that is not known: the virtio drivers were added, "
                     "and its udev or systemd is expected to load them",
                     job->kernel->initramfs);
  if (!append (job, image, &addition, error))
    return g_error_matches (*error, H2K_ERROR, H2K_ERROR_REPAIR) ? KERNEL_FAILED : KERNEL_ERROR;
  return KERNEL_READY;
}

/* --- which kernel is started ------------------------------------------------------------------ */

/* The value of "KEY=value" in the file PATH, quotes removed; NULL when there is none. */
static char *
setting (H2kRepairContext *context, const char *path, const char *key)
{
  g_autoptr (GBytes) data = h2k_tree_read_optional (context->guest->tree, path, 0, NULL);
  g_autoptr (H2kLines) lines = data ? h2k_lines_new (data) : NULL;
  char *value = NULL;

  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i);
      if (g_str_has_prefix (line, key) && line[strlen (key)] == '=')
        {
          g_free (value);
          value = g_strdup (line + strlen (key) + 1);
          g_strdelimit (value, "\"'", ' ');
          g_strstrip (value);
        }
    }
  return value;
}

/* GRUB's default entry, as far as it is a text. */
static char *
default_entry (H2kRepairContext *context)
{
  static const char *const environments[] = {"/boot/grub2/grubenv", "/boot/grub/grubenv"};
  char *entry = setting (context, "/etc/default/grub", "GRUB_DEFAULT");

  for (guint i = 0; i < G_N_ELEMENTS (environments) && (!entry || g_str_equal (entry, "saved"));
       i++)
    {
      char *saved = setting (context, environments[i], "saved_entry");
      if (saved)
        {
          g_free (entry);
          entry = saved;
        }
    }
  return entry;
}

/* The kernel whose version GRUB's default names, else the newest that can be started. */
static const H2kKernel *
default_kernel (H2kRepairContext *context)
{
  g_autofree char *entry = default_entry (context);
  const H2kKernel *newest = NULL, *named = NULL;

  for (guint i = 0; i < context->guest->kernels->len; i++)
    {
      const H2kKernel *kernel = context->guest->kernels->pdata[i];
      if (!kernel->image)
        continue;
      if (!newest)
        newest = kernel;
      if (entry && strstr (entry, kernel->version)
          && (!named || strlen (kernel->version) > strlen (named->version)))
        named = kernel;
    }
  return named ? named : newest;
}

/* --- the repair ------------------------------------------------------------------------------- */

static gboolean
applies (H2kRepairContext *context)
{
  return context->guest->kernels->len > 0;
}

/* Repair one kernel; only the one that is started by default has to succeed. */
static gboolean
run_kernel (H2kRepairContext *context, const H2kKernel *kernel, gboolean by_default, GError **error)
{
  GError *local = NULL;
  Job job = {.context = context, .kernel = kernel, .wanted = g_ptr_array_new ()};
  Outcome outcome = repair_kernel (&job, &local);

  /* What the kernel can load, the generator should put into its next image. */
  if (outcome == KERNEL_READY && by_default && job.wanted->len > 0)
    if (!h2k_initramfs_configure (context, job.wanted, job.modules, &local))
      outcome = KERNEL_ERROR;
  g_ptr_array_unref (job.wanted);
  h2k_modules_free (job.modules);
  if (outcome == KERNEL_FAILED && !by_default)
    {
      h2k_repair_warn (context, "kernel %s will not boot on virtio: %s", kernel->version,
                       local->message);
      g_clear_error (&local);
    }
  if (local)
    g_propagate_error (error, local);
  return !local;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  const H2kKernel *first = default_kernel (context);

  for (guint i = 0; i < context->guest->kernels->len; i++)
    {
      const H2kKernel *kernel = context->guest->kernels->pdata[i];
      if ((kernel->image || kernel->initramfs)
          && !run_kernel (context, kernel, kernel == first, error))
        return FALSE;
    }
  return TRUE;
}

const H2kRepair h2k_repair_initramfs = {
    .name = "initramfs",
    .flag = H2K_REPAIR_INITRAMFS,
    .why = "the initramfs of every kernel must hold the drivers of virtio disks",
    .applies = applies,
    .run = run,
};
