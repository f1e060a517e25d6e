/* boot-rebuild.c - a new boot configuration in place of one that cannot be read.
 *
 * Made as bcdboot makes it: from System32\config\BCD-Template, a store with the settings that
 * entries inherit and without entries. A boot manager, one loader and its resume program are added.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/windows/boot.h"
#include "repair/windows/session.h"

#define MAX_STORE (16u << 20)
#define GLOBAL_SETTINGS "{7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e}"
#define LOADER_SETTINGS "{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}"
#define RESUME_SETTINGS "{1afa9c49-16ab-4a5c-901b-212802da9460}"
#define LOCALE 0x12000005u
#define RESUME_FILE 0x22000002u
#define MANAGER_RESUME 0x23000006u
#define NX 0x25000020u
#define NX_OPT_IN 0u
#define NX_OPT_OUT 1u
#define TIMEOUT 30u
#define WHY "the boot configuration could not be read"
#define ADVICE                                                                                     \
  "run bootrec /rebuildbcd or bcdboot C:\\Windows from Windows' installation medium and try again"

typedef struct
{
  H2kRepairContext *context;
  H2kHive *hive;
  char *id; /* of the object that is made */
  GError **error;
  gboolean ok;
} Maker;

/* KEY below the store got a value that TEXT shows. */
static void
record (const Maker *m, const char *key, const char *name, const char *text)
{
  g_autofree char *whole = g_strconcat ("HKLM\\BCD00000000\\", key, NULL);
  g_autofree char *label = g_strdup_printf ("\"%s\"=", name);

  if (m->ok)
    h2k_repair_record_registry (m->context, whole, label, NULL, text, WHY);
}

static void
set_value (Maker *m, const char *key, H2kRegValue *value)
{
  g_autoptr (H2kRegValue) owned = value;
  g_autofree char *text = h2k_reg_value_to_text (value);

  m->ok = m->ok && h2k_hive_set (m->hive, key, owned, m->error);
  record (m, key, owned->name, text);
}

static void
set (Maker *m, guint32 type, H2kRegValue *value)
{
  const H2kBcdObject object = {.id = m->id};
  g_autofree char *key = h2k_bcd_key (&object, type);

  set_value (m, key, value);
}

static void
set_text (Maker *m, guint32 type, const char *text)
{
  set (m, type, h2k_reg_string ("Element", H2K_REG_SZ, text));
}

static void
set_list (Maker *m, guint32 type, const char *id)
{
  const char *const ids[] = {id, NULL};

  set (m, type, h2k_reg_strings ("Element", ids));
}

static void
set_number (Maker *m, guint32 type, guint64 number)
{
  number = GUINT64_TO_LE (number);
  set (m, type, h2k_reg_binary ("Element", &number, sizeof number));
}

/* What is inherited, if the template has it. */
static void
inherit (Maker *m, const char *id)
{
  g_autofree char *key = g_strconcat ("Objects\\", id, NULL);

  if (h2k_hive_has_key (m->hive, key))
    set_list (m, H2K_BCD_INHERIT, id);
}

static void
set_device (Maker *m, guint32 type, const H2kBcdDevice *device)
{
  g_autoptr (GPtrArray) elements = g_ptr_array_new ();
  const H2kBcdObject object = {.id = m->id, .elements = elements};
  g_autofree char *key = h2k_bcd_key (&object, type);
  g_autofree char *text = h2k_bcd_device_to_text (device);

  m->ok = m->ok && h2k_bcd_set_device (m->hive, &object, type, device, m->error);
  record (m, key, "Element", text);
}

static void
begin (Maker *m, const char *id, guint32 type)
{
  g_autofree char *key = g_strconcat ("Objects\\", id, "\\Description", NULL);

  g_free (m->id);
  m->id = g_strdup (id);
  set_value (m, key, h2k_reg_dword ("Type", type));
}

/* --- objects ---------------------------------------------------------------------------------- */

/* A GUID for the object NAME, the same in each run on the same disk: version 8, as RFC 9562 has it
 * for such. The caller's. */
static char *
new_id (const H2kGuest *guest, const char *name)
{
  const H2kTable *table = guest->tables->pdata[guest->root->disk];
  g_autofree char *seed = g_strdup_printf ("%s %" G_GUINT64_FORMAT " %s", table->disk_id,
                                           h2k_windows_partition (guest->root)->offset, name);
  g_autofree char *hash = g_compute_checksum_for_string (G_CHECKSUM_SHA256, seed, -1);

  return g_strdup_printf ("{%.8s-%.4s-8%.3s-8%.3s-%.12s}", hash, hash + 8, hash + 12, hash + 15,
                          hash + 18);
}

typedef struct
{
  const H2kGuest *guest;
  H2kBcdDevice boot, system;
  char *winload;
  char *loader, *resume; /* ids */
} Plan;

static void
make_manager (Maker *m, const Plan *plan)
{
  begin (m, H2K_BCD_BOOTMGR, H2K_BCD_TYPE_BOOTMGR);
  set_device (m, H2K_BCD_DEVICE, &plan->boot);
  if (plan->guest->firmware == H2K_FIRMWARE_UEFI)
    set_text (m, H2K_BCD_PATH, "\\EFI\\Microsoft\\Boot\\bootmgfw.efi");
  set_text (m, H2K_BCD_DESCRIPTION, "Windows Boot Manager");
  set_text (m, LOCALE, "en-US");
  inherit (m, GLOBAL_SETTINGS);
  set_text (m, H2K_BCD_DEFAULT, plan->loader);
  set_text (m, MANAGER_RESUME, plan->resume);
  set_list (m, H2K_BCD_DISPLAY_ORDER, plan->loader);
  set_number (m, H2K_BCD_TIMEOUT, TIMEOUT);
}

static void
make_loader (Maker *m, const Plan *plan)
{
  const H2kWindows *w = plan->guest->windows;
  g_autofree char *root = g_strdelimit (g_strdup (w->root), "/", '\\');

  begin (m, plan->loader, H2K_BCD_TYPE_LOADER);
  set_device (m, H2K_BCD_DEVICE, &plan->system);
  set_text (m, H2K_BCD_PATH, plan->winload);
  set_text (m, H2K_BCD_DESCRIPTION, w->name);
  set_text (m, LOCALE, "en-US");
  inherit (m, LOADER_SETTINGS);
  set_device (m, H2K_BCD_OS_DEVICE, &plan->system);
  set_text (m, H2K_BCD_SYSTEM_ROOT, root);
  set_text (m, H2K_BCD_RESUME_OBJECT, plan->resume);
  set_number (m, NX, w->version.product == H2K_WINDOWS_CLIENT ? NX_OPT_IN : NX_OPT_OUT);
}

static void
make_resume (Maker *m, const Plan *plan)
{
  gboolean uefi = plan->guest->firmware == H2K_FIRMWARE_UEFI;
  g_autofree char *root = g_strdelimit (g_strdup (plan->guest->windows->root), "/", '\\');
  g_autofree char *path = g_strconcat (root, "\\system32\\winresume.", uefi ? "efi" : "exe", NULL);

  begin (m, plan->resume, H2K_BCD_TYPE_RESUME);
  set_device (m, H2K_BCD_DEVICE, &plan->system);
  set_text (m, H2K_BCD_PATH, path);
  set_text (m, H2K_BCD_DESCRIPTION, "Windows Resume Application");
  set_text (m, LOCALE, "en-US");
  inherit (m, RESUME_SETTINGS);
  set_device (m, H2K_BCD_OS_DEVICE, &plan->system);
  set_text (m, RESUME_FILE, "\\hiberfil.sys");
}

/* What tells Windows that it is the system's store. */
static void
make_description (Maker *m)
{
  set_value (m, "Description", h2k_reg_string ("KeyName", H2K_REG_SZ, "BCD00000000"));
  set_value (m, "Description", h2k_reg_dword ("System", 1));
  set_value (m, "Description", h2k_reg_dword ("TreatAsSystem", 1));
}

/* --- files ------------------------------------------------------------------------------------ */

/* The template in place of the store, which is kept; logs of the old one would be applied to it. */
static gboolean
put_template (H2kRepairContext *context, GBytes *template, GError **error)
{
  static const char *const logs[] = {".LOG", ".LOG1", ".LOG2"};
  H2kTree *tree = context->guest->tree;
  const char *store = context->guest->windows->bcd;
  g_autoptr (GBytes) nothing = g_bytes_new (NULL, 0);

  if (!h2k_windows_keep (context, store, error)
      || !h2k_repair_copy (context, store, template, 0644, "a new boot configuration", WHY, error))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (logs); i++)
    {
      g_autofree char *log = g_strconcat (store, logs[i], NULL);
      H2kStat st;
      if (h2k_tree_stat (tree, log, &st, NULL) && st.size > 0
          && !h2k_repair_copy (context, log, nothing, 0644, "emptied",
                               "it belonged to the boot configuration that was replaced", error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
fill (H2kRepairContext *context, const Plan *plan, GError **error)
{
  g_autoptr (H2kHive) hive
      = h2k_windows_open_store (context->guest, TRUE, context->options.temp_dir, error);
  Maker m = {.context = context, .hive = hive, .error = error, .ok = TRUE};

  if (!hive)
    return FALSE;
  make_description (&m);
  make_manager (&m, plan);
  make_loader (&m, plan);
  make_resume (&m, plan);
  g_free (m.id);
  return m.ok && h2k_hive_commit (hive, error);
}

/* Everything that is needed, or FALSE. */
static gboolean
make_plan (const H2kGuest *guest, Plan *plan)
{
  plan->guest = guest;
  plan->winload = h2k_windows_winload (guest);
  plan->loader = new_id (guest, "loader");
  plan->resume = new_id (guest, "resume");
  return plan->winload
         && h2k_windows_device_of (guest, h2k_windows_boot_volume (guest), &plan->boot)
         && h2k_windows_device_of (guest, guest->root, &plan->system);
}

gboolean
h2k_windows_rebuild_bcd (H2kRepairContext *context, const char *why, GError **error)
{
  H2kGuest *guest = context->guest;
  g_autofree char *path = h2k_windows_path (context, "System32/config/BCD-Template");
  g_autoptr (GBytes) template = h2k_tree_read_optional (guest->tree, path, MAX_STORE, NULL);
  g_autoptr (H2kHive) hive = NULL;
  Plan plan = {0};
  gboolean can = make_plan (guest, &plan), ok = FALSE;

  /* Only from a template that can be read, so that nothing is lost in vain. */
  if (template && can)
    hive = h2k_hive_open (guest->windows->fs, path, FALSE, context->options.temp_dir, NULL);
  if (!hive || h2k_hive_info (hive)->was_dirty)
    g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
                 "the boot configuration %s is damaged (%s), and a new one cannot be made, since "
                 "%s: " ADVICE,
                 guest->windows->bcd, why,
                 can ? "Windows' template of one is missing or damaged"
                     : "winload or an identifier of the disk is missing");
  else
    {
      h2k_repair_warn (
          context,
          "%s could not be read (%s) and was made anew for this Windows alone: entries "
          "of other systems and of the recovery environment are gone from it "
          "(reagentc /enable brings back the latter)",
          guest->windows->bcd, why);
      ok = put_template (context, template, error) && fill (context, &plan, error);
    }
  g_free (plan.winload);
  g_free (plan.loader);
  g_free (plan.resume);
  return ok;
}
