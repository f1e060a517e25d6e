/* tools.c - the old hypervisor's services no longer start: systemd units are masked, System V links
 * removed, Upstart jobs overridden. Packages stay, so that the guest's own tools can remove them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/repairs.h"

static const char *const units[] = {
    "open-vm-tools.service",
    "vmtoolsd.service",
    "vgauth.service",
    "vgauthd.service",
    "vmware-tools.service",
    "vmware-tools-thinprint.service",
    "vmware-vgauth.service",
    "vmware-vmblock-fuse.service",
    "run-vmblock\\x2dfuse.mount",
};

/* Names under /etc/init.d. */
static const char *const scripts[] = {
    "open-vm-tools", "vmware-tools", "vmware-tools-thinprint", "vmtoolsd", "vgauthd",
};

/* Names under /etc/init, without ".conf". */
static const char *const jobs[] = {"vmware-tools", "vmware-tools-thinprint", "open-vm-tools"};

static const char *const unit_dirs[] = {"/usr/lib/systemd/system", "/lib/systemd/system"};

static const char reason[] = "the service belongs to VMware, which the guest leaves";

/* --- systemd ---------------------------------------------------------------------------------- */

static gboolean
is_shipped (H2kTree *tree, const char *unit)
{
  for (guint i = 0; i < G_N_ELEMENTS (unit_dirs); i++)
    {
      g_autofree char *path = g_build_filename (unit_dirs[i], unit, NULL);
      if (h2k_tree_is_link (tree, path) || h2k_tree_is_file (tree, path))
        return TRUE;
    }
  return FALSE;
}

/* What starts UNIT at boot: links to it in the targets' directories. */
static gboolean
remove_wants (H2kRepairContext *context, const char *unit, GError **error)
{
  static const char *const patterns[]
      = {"/etc/systemd/system/*.wants/%s", "/etc/systemd/system/*.requires/%s"};

  for (guint i = 0; i < G_N_ELEMENTS (patterns); i++)
    {
      g_autoptr (GPtrArray) dirs = NULL;
      g_autofree char *dir = g_path_get_dirname (patterns[i]);

      dirs = h2k_tree_glob (context->guest->tree, dir);
      for (guint j = 0; j < dirs->len; j++)
        {
          g_autofree char *path = g_build_filename (dirs->pdata[j], unit, NULL);
          if (h2k_tree_is_link (context->guest->tree, path)
              && !h2k_repair_remove (context, path, reason, error))
            return FALSE;
        }
    }
  return TRUE;
}

/* A unit that the administrator wrote is not replaced by a mask: it is only not started. */
static gboolean
mask_unit (H2kRepairContext *context, const char *unit, GError **error)
{
  H2kTree *tree = context->guest->tree;
  g_autofree char *path = g_build_filename ("/etc/systemd/system", unit, NULL);
  gboolean own = h2k_tree_is_file (tree, path) && !h2k_tree_is_link (tree, path);

  if (!own && !is_shipped (tree, unit))
    return TRUE;
  if (!remove_wants (context, unit, error))
    return FALSE;
  return own || h2k_repair_symlink (context, "/dev/null", path, reason, error);
}

/* --- System V and Upstart --------------------------------------------------------------------- */

/* "S20open-vm-tools" starts the script "open-vm-tools". */
static gboolean
starts (const char *link, const char *script)
{
  return link[0] == 'S' && g_ascii_isdigit (link[1]) && g_ascii_isdigit (link[2])
         && g_str_equal (link + 3, script);
}

static gboolean
remove_start_links (H2kRepairContext *context, const char *script, GError **error)
{
  static const char *const patterns[] = {"/etc/rc?.d", "/etc/rc.d/rc?.d", "/etc/init.d/rc?.d"};

  for (guint i = 0; i < G_N_ELEMENTS (patterns); i++)
    {
      g_autoptr (GPtrArray) dirs = h2k_tree_glob (context->guest->tree, patterns[i]);
      for (guint j = 0; j < dirs->len; j++)
        {
          g_autoptr (GPtrArray) names = h2k_tree_list (context->guest->tree, dirs->pdata[j]);
          for (guint k = 0; k < names->len; k++)
            {
              g_autofree char *path = g_build_filename (dirs->pdata[j], names->pdata[k], NULL);
              if (starts (names->pdata[k], script)
                  && !h2k_repair_remove (context, path, reason, error))
                return FALSE;
            }
        }
    }
  return TRUE;
}

static gboolean
override_job (H2kRepairContext *context, const char *job, GError **error)
{
  g_autofree char *conf = g_strdup_printf ("/etc/init/%s.conf", job);
  g_autofree char *override = g_strdup_printf ("/etc/init/%s.override", job);
  g_autoptr (GBytes) manual = g_bytes_new_static ("manual\n", strlen ("manual\n"));

  return !h2k_tree_is_file (context->guest->tree, conf)
         || h2k_repair_write (context, override, manual, 0644, reason, error);
}

/* --- the repair ------------------------------------------------------------------------------- */

static gboolean
applies (H2kRepairContext *context)
{
  return TRUE;
}

static gboolean
run (H2kRepairContext *context, GError **error)
{
  gboolean systemd = context->guest->init == H2K_INIT_SYSTEMD;

  for (guint i = 0; systemd && i < G_N_ELEMENTS (units); i++)
    if (!mask_unit (context, units[i], error))
      return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (scripts); i++)
    if (!remove_start_links (context, scripts[i], error))
      return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (jobs); i++)
    if (!override_job (context, jobs[i], error))
      return FALSE;
  return TRUE;
}

const H2kRepair h2k_repair_tools = {
    .name = "tools",
    .flag = H2K_REPAIR_TOOLS,
    .why = "VMware's services do nothing useful on KVM and can delay the boot",
    .applies = applies,
    .run = run,
};
