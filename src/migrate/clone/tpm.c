/* tpm.c - the TPM of a clone's VM that runs without libvirt: swtpm beside QEMU.
 *
 * Its state is a file in the layer, as UEFI's variables are: each new layer gets a copy of it, so
 * that it follows snapshots and resets. swtpm listens on a socket, and ends with QEMU.
 *
 * Follows swtpm(8), swtpm_ioctls(3).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/arch.h"
#include "domain/qemu.h"
#include "migrate/clone/start.h"
#include "migrate/clone/tpm.h"
#include "migrate/clone/vm.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_SECONDS 10
#define STEP (G_USEC_PER_SEC / 100)

/* What QEMU calls the device on ARCH; NULL: there is none. */
static const char *
device_of (const H2kArch *arch)
{
  return g_str_equal (arch->libvirt, "x86_64")    ? "tpm-crb"
         : g_str_equal (arch->libvirt, "aarch64") ? "tpm-tis-device"
                                                  : NULL;
}

void
h2k_clone_tpm_add (const H2kClone *clone, const H2kDomain *domain, GPtrArray *args)
{
  const char *device = domain->tpm ? device_of (h2k_arch_get (domain->arch)) : NULL;
  g_autofree char *path = h2k_clone_vm_socket (clone, H2K_CLONE_SOCKET_TPM);
  g_autofree char *quoted = h2k_qemu_quote (path);

  if (!device)
    return;
  g_ptr_array_add (args, g_strdup ("-chardev"));
  g_ptr_array_add (args, g_strdup_printf ("socket,id=tpm,path=%s", quoted));
  g_ptr_array_add (args, g_strdup ("-tpmdev"));
  g_ptr_array_add (args, g_strdup ("emulator,id=tpm0,chardev=tpm"));
  g_ptr_array_add (args, g_strdup ("-device"));
  g_ptr_array_add (args, g_strdup_printf ("%s,tpmdev=tpm0", device));
}

/* --- swtpm ------------------------------------------------------------------------------------ */

/* swtpm's options are lists with commas, for which it has no other way to be written. */
static gboolean
check_path (const char *path, GError **error)
{
  if (!path || !strchr (path, ','))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "the clone has a TPM, and %s has a comma in its name, with which swtpm cannot be "
               "told of it",
               path);
  return FALSE;
}

static void
add (GPtrArray *args, const char *option, char *value)
{
  g_ptr_array_add (args, g_strdup (option));
  if (value)
    g_ptr_array_add (args, value);
}

static char **
make_args (const H2kClone *clone, GError **error)
{
  g_autofree char *program = g_find_program_in_path ("swtpm");
  g_autofree char *key = h2k_clone_is_encrypted (clone) ? h2k_clone_key_file (clone) : NULL;
  g_autofree char *path = h2k_clone_vm_socket (clone, H2K_CLONE_SOCKET_TPM);
  g_autoptr (GPtrArray) args = g_ptr_array_new_with_free_func (g_free);

  if (!program)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL,
                   "the VM of the clone %s has a TPM, and there is no swtpm to emulate it: install "
                   "the package swtpm",
                   clone->name);
      return NULL;
    }
  if (!check_path (clone->dir, error) || !check_path (key, error) || !check_path (path, error))
    return NULL;
  g_ptr_array_add (args, g_steal_pointer (&program));
  add (args, "socket", NULL);
  add (args, "--tpm2", NULL);
  add (args, "--terminate", NULL);
  add (args, "--tpmstate",
       g_strdup_printf ("dir=%s/layers/%u,mode=0600", clone->dir, clone->current));
  add (args, "--ctrl", g_strdup_printf ("type=unixio,path=%s,mode=0600", path));
  if (key)
    add (args, "--key", g_strdup_printf ("pwdfile=%s,mode=aes-256-cbc,kdf=pbkdf2", key));
  g_ptr_array_add (args, NULL);
  return (char **)g_ptr_array_free (g_steal_pointer (&args), FALSE);
}

char **
h2k_clones_tpm_args (const char *state_dir, const char *name, GError **error)
{
  g_autoptr (H2kCloneStore) store = h2k_clone_store_open (state_dir, error);
  g_autoptr (H2kClone) clone = store ? h2k_clone_open (store, name, H2K_CLONE_LOOK, error) : NULL;
  g_autoptr (H2kDomain) domain = clone ? h2k_clone_machine (clone) : NULL;

  if (!domain || !domain->tpm || !device_of (h2k_arch_get (domain->arch)))
    return NULL;
  return make_args (clone, error);
}

static void
child_setup (gpointer data)
{
  /* With this process, or with what takes its place, which is QEMU. */
  prctl (PR_SET_PDEATHSIG, SIGTERM);
  if (getppid () != (pid_t)GPOINTER_TO_INT (data))
    _exit (127);
  /* A Ctrl-C at the terminal is the VM's. */
  setpgid (0, 0);
}

/* Wait until PID listens at PATH. */
static gboolean
wait_for_socket (GPid pid, const char *path, GError **error)
{
  gint64 until = g_get_monotonic_time () + START_SECONDS * G_USEC_PER_SEC;

  while (g_get_monotonic_time () < until)
    {
      if (access (path, F_OK) == 0)
        return TRUE;
      if (waitpid (pid, NULL, WNOHANG) != 0)
        {
          g_set_error_literal (error, H2K_ERROR, H2K_ERROR_TOOL,
                               "swtpm, the emulator of the VM's TPM, ended at once: the state of "
                               "the TPM may be damaged, or of another key");
          return FALSE;
        }
      g_usleep (STEP);
    }
  kill (pid, SIGKILL);
  waitpid (pid, NULL, 0);
  g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "swtpm does not listen at %s after %d seconds",
               path, START_SECONDS);
  return FALSE;
}

/* The socket in the arguments of swtpm. */
static const char *
socket_of (char *const *args)
{
  while (*args && !g_str_equal (*args, "--ctrl"))
    args++;
  return args[0] && args[1] ? strstr (args[1], "path=") + strlen ("path=") : "";
}

gboolean
h2k_clones_start_tpm (char *const *args, GError **error)
{
  g_autofree char *path = g_strdup (socket_of (args));
  char *end = strchr (path, ',');
  g_autoptr (GError) local = NULL;
  GPid pid;

  if (end)
    *end = '\0';
  /* Of one that was killed: no VM runs. */
  g_unlink (path);
  if (g_spawn_async ("/", (char **)args, NULL,
                     G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL, child_setup,
                     GINT_TO_POINTER (getpid ()), &pid, &local))
    return wait_for_socket (pid, path, error);
  g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "cannot start %s: %s", args[0], local->message);
  return FALSE;
}
