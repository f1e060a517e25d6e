/* run.c - the command that starts a clone's VM with QEMU, where there is no libvirt.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "boot/boot.h"
#include "domain/arch.h"
#include "domain/firmware.h"
#include "domain/qemu.h"
#include "migrate/clone/first-boot.h"
#include "migrate/clone/start.h"
#include "migrate/clone/tpm.h"
#include "migrate/clone/vm.h"

static void add (GPtrArray *args, const char *text, ...) G_GNUC_NULL_TERMINATED;

static void
add (GPtrArray *args, const char *text, ...)
{
  va_list ap;

  va_start (ap, text);
  for (; text; text = va_arg (ap, const char *))
    g_ptr_array_add (args, g_strdup (text));
  va_end (ap);
}

/* QEMU serves one client at a time on a socket: one is for commands, one for who watches. */
static void
add_socket (GPtrArray *args, const H2kClone *clone, const char *name)
{
  g_autofree char *path = h2k_clone_vm_socket (clone, name);
  g_autofree char *quoted = h2k_qemu_quote (path);
  g_autofree char *value = g_strdup_printf ("unix:%s,server=on,wait=off", quoted);

  add (args, "-qmp", value, NULL);
}

static GPtrArray *
make_args (const H2kClone *clone, const H2kDomain *domain, gboolean screen, GError **error)
{
  const H2kArch *arch = h2k_arch_get (domain->arch);
  g_autofree char *emulator = g_find_program_in_path (arch->emulator);
  g_autoptr (H2kUefiFiles) files = NULL;
  const char *why = NULL;
  H2kQemuSetup setup = {.accel = h2k_kvm_works (&why) ? "kvm" : "tcg"};
  GPtrArray *args;

  if (!emulator)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "%s is not installed: install QEMU",
                   arch->emulator);
      return NULL;
    }
  if (domain->firmware == H2K_FIRMWARE_UEFI)
    {
      if (!(files = h2k_uefi_find ("", arch->libvirt, error)))
        return NULL;
      setup.uefi_code = files->code;
      setup.uefi_vars = domain->nvram;
    }
  if (why)
    g_message ("the VM is emulated, which is slow: %s", why);
  args = h2k_qemu_args (domain, &setup);
  g_ptr_array_insert (args, 0, g_strdup (emulator));
  add (args, "-nodefaults", "-no-user-config", "-accel",
       g_str_equal (setup.accel, "tcg") ? "tcg,thread=multi" : setup.accel, "-serial", "mon:stdio",
       NULL);
  if (g_str_equal (arch->libvirt, "x86_64"))
    add (args, "-device", "VGA", NULL);
  add (args, screen ? "-vnc" : "-display", screen ? "127.0.0.1:0,to=99" : "none", NULL);
  add_socket (args, clone, H2K_CLONE_SOCKET_QMP);
  add_socket (args, clone, H2K_CLONE_SOCKET_WATCH);
  h2k_clone_tpm_add (clone, domain, args);
  g_ptr_array_add (args, NULL);
  return args;
}

char **
h2k_clones_run_args (const char *state_dir, const char *name, gboolean screen, gboolean unsafe,
                     GError **error)
{
  g_autoptr (H2kCloneStore) store = h2k_clone_store_open (state_dir, error);
  g_autoptr (H2kClone) clone = store ? h2k_clone_open (store, name, H2K_CLONE_LOOK, error) : NULL;
  g_autoptr (H2kDomain) domain = NULL;
  gboolean first;
  GPtrArray *args;

  if (!clone || !h2k_clone_prepare_start (clone, unsafe, error))
    return NULL;
  domain = h2k_clone_next_machine (clone, &first, error);
  if (domain && first)
    h2k_clone_announce_first_boot (domain);
  args = domain ? make_args (clone, domain, screen, error) : NULL;
  return args ? (char **)g_ptr_array_free (args, FALSE) : NULL;
}
