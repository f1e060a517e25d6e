/* control.c - clones' VMs are defined, started, stopped and continued.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/first-boot.h"
#include "migrate/clone/start.h"
#include "migrate/clone/vm.h"
#include "migrate/clone/virt.h"
#include "util/json.h"

#define STOP_POLL (100 * 1000) /* microseconds */
#define PRESS_AGAIN (10 * G_TIME_SPAN_SECOND)
#define RELEASE_WAIT (10 * G_TIME_SPAN_SECOND) /* from the VM's end to that of its locks */

/* --- libvirt ---------------------------------------------------------------------------------- */

/* The libvirt to use: URI (NULL: the one that CLONE is defined in, or the user's own). */
static virConnectPtr
choose_connection (const H2kClone *clone, const char *uri, GError **error)
{
  const char *defined = h2k_virt_uri (clone);

  if (uri && defined && !g_str_equal (uri, defined))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "the clone %s is defined in the libvirt at %s: `hyper2kvm clone undefine %s` "
                   "first",
                   clone->name, defined, clone->name);
      return NULL;
    }
  return h2k_virt_open (uri ? uri : defined, error);
}

/* virsh knows one definition of a domain, and that of the first boot is not the one to keep. */
static gboolean
tell_of_first_boot (const H2kClone *clone, GError **error)
{
  gboolean first;
  g_autoptr (H2kDomain) next = h2k_clone_next_machine (clone, &first, error);

  if (next && first)
    g_message ("the first boot of this Windows on KVM is ahead: `hyper2kvm clone start %s` starts "
               "it from a controller that it knows; virsh would start it from VirtIO",
               clone->name);
  return next != NULL;
}

gboolean
h2k_clones_define (const char *state_dir, const char *name, const char *connect, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};
  g_autoptr (virConnect) connection = NULL;
  g_autoptr (virDomain) domain = NULL;

  if (!h2k_clones_open (state_dir, name, H2K_CLONE_CHANGE, &o, error)
      || !(connection = choose_connection (o.clone, connect, error))
      || !h2k_virt_hand_over (connection, o.clone, error) || !tell_of_first_boot (o.clone, error))
    return FALSE;
  domain = h2k_virt_define (connection, o.clone, error);
  return domain != NULL;
}

gboolean
h2k_clone_forget_domain (H2kClone *clone, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (virDomain) domain = h2k_virt_defined (clone, &local);

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (domain && !h2k_virt_undefine (domain, error))
    return FALSE;
  h2k_virt_forget_secret (clone);
  json_object_remove_member (clone->root, "libvirt");
  return h2k_clone_save (clone, error);
}

gboolean
h2k_clone_drop_memory (const H2kClone *clone, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (virDomain) domain = h2k_virt_defined (clone, &local);

  if (local)
    {
      g_warning ("%s. If it has saved the VM's memory, remove that before the VM is started "
                 "(virsh managedsave-remove): it belongs to the disk that is thrown away",
                 local->message);
      return TRUE;
    }
  if (!domain || virDomainHasManagedSaveImage (domain, 0) != 1)
    return TRUE;
  if (virDomainManagedSaveRemove (domain, 0) == 0)
    {
      g_message ("the VM's memory, which libvirt had saved, is thrown away, too");
      return TRUE;
    }
  h2k_virt_set_error (error, H2K_ERROR_OUTPUT,
                      "libvirt has saved the memory of the VM of %s, which does not fit another "
                      "state of its disk, and does not remove it",
                      clone->name);
  return FALSE;
}

gboolean
h2k_clones_undefine (const char *state_dir, const char *name, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};

  return h2k_clones_open (state_dir, name, H2K_CLONE_CHANGE, &o, error)
         && h2k_clone_forget_domain (o.clone, error);
}

gboolean
h2k_clones_start (const char *state_dir, const char *name, const char *connect, gboolean unsafe,
                  GError **error)
{
  g_auto (H2kOpenedClone) o = {0};
  g_autoptr (virConnect) connection = NULL;

  return h2k_clones_open (state_dir, name, H2K_CLONE_CHANGE, &o, error)
         && (connection = choose_connection (o.clone, connect, error)) != NULL
         && h2k_clone_prepare_start (o.clone, unsafe, error)
         && h2k_virt_hand_over (connection, o.clone, error)
         && h2k_virt_start (connection, o.clone, error);
}

char **
h2k_clones_console_args (const char *state_dir, const char *name, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};
  g_autoptr (virDomain) domain = NULL;
  g_autoptr (GError) local = NULL;
  g_autofree char *virsh = g_find_program_in_path ("virsh");
  const char *args[] = {virsh, "-c", NULL, "console", NULL, NULL};

  if (!h2k_clones_open (state_dir, name, H2K_CLONE_LOOK, &o, error))
    return NULL;
  if (!virsh)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL,
                   "virsh is not installed: install libvirt's clients");
      return NULL;
    }
  domain = h2k_virt_defined (o.clone, &local);
  if (!domain || virDomainIsActive (domain) != 1)
    {
      if (local)
        g_propagate_error (error, g_steal_pointer (&local));
      else
        g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                     "the clone %s does not run in libvirt: `hyper2kvm clone start %s` (that of "
                     "`clone run` has its console on its own terminal)",
                     name, name);
      return NULL;
    }
  args[2] = h2k_virt_uri (o.clone);
  args[4] = virDomainGetName (domain);
  return g_strdupv ((char **)args);
}

/* --- stop ------------------------------------------------------------------------------------- */

/* Until VM has ended, or UNTIL. */
static gboolean
wait_for_end (H2kCloneVm *vm, gint64 until, GCancellable *cancellable)
{
  while (vm->ops->state (vm) != H2K_VM_GONE)
    {
      if (g_get_monotonic_time () >= until || g_cancellable_is_cancelled (cancellable))
        return FALSE;
      g_usleep (STOP_POLL);
    }
  return TRUE;
}

/* Its images are free a moment after a VM has ended. */
static gboolean
wait_for_release (const H2kClone *clone, GError **error)
{
  gint64 until = g_get_monotonic_time () + RELEASE_WAIT;

  while (h2k_clone_use (clone) == H2K_IMAGE_WRITTEN)
    {
      if (g_get_monotonic_time () >= until)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                       "the VM of %s was stopped, and something still holds its disk", clone->name);
          return FALSE;
        }
      g_usleep (STOP_POLL / 10);
    }
  return TRUE;
}

static gboolean
press_button (const H2kClone *clone, H2kCloneVm *vm, guint timeout, gboolean force,
              GCancellable *cancellable, GError **error)
{
  gint64 until = g_get_monotonic_time () + timeout * G_TIME_SPAN_SECOND;
  gboolean paused = vm->ops->state (vm) == H2K_VM_PAUSED;

  /* One that is paused does not see the button. */
  if (!paused && (timeout > 0 || !force))
    {
      /* A guest that is still starting does not see it: press it again. */
      while (!g_cancellable_is_cancelled (cancellable))
        {
          gint64 now = g_get_monotonic_time ();
          if (!vm->ops->shutdown (vm, error))
            return FALSE;
          if (wait_for_end (vm, MIN (until, now + PRESS_AGAIN), cancellable))
            return TRUE;
          if (now + PRESS_AGAIN >= until)
            break;
        }
    }
  if (h2k_is_cancelled (cancellable, error))
    return FALSE;
  if (force)
    return vm->ops->destroy (vm, error)
           && (wait_for_end (vm, g_get_monotonic_time () + RELEASE_WAIT, cancellable) || TRUE);
  if (paused)
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                 "the VM of %s is paused, and cannot shut down: `hyper2kvm clone resume %s` it, or "
                 "end it with --force",
                 clone->name, clone->name);
  else
    g_set_error (
        error, H2K_ERROR, H2K_ERROR_OUTPUT,
        "the VM of %s was asked to shut down, and runs still after %u seconds: --force ends "
        "it, --timeout waits longer",
        clone->name, timeout);
  return FALSE;
}

gboolean
h2k_clones_stop (const char *state_dir, const char *name, guint timeout, gboolean force,
                 GCancellable *cancellable, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};
  g_autoptr (H2kCloneVm) vm = NULL;
  g_autoptr (GError) local = NULL;

  if (!h2k_clones_open (state_dir, name, H2K_CLONE_LOOK, &o, error))
    return FALSE;
  vm = h2k_clone_vm_find (o.clone, FALSE, &local);
  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  return !vm
         || (press_button (o.clone, vm, timeout, force, cancellable, error)
             && wait_for_release (o.clone, error));
}

/* --- going on --------------------------------------------------------------------------------- */

gboolean
h2k_clones_resume (const char *state_dir, const char *name, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};
  g_autoptr (H2kCloneVm) vm = NULL;
  g_autoptr (GError) local = NULL;

  if (!h2k_clones_open (state_dir, name, H2K_CLONE_LOOK, &o, error))
    return FALSE;
  vm = h2k_clone_vm_find (o.clone, FALSE, &local);
  if (vm && vm->ops->state (vm) == H2K_VM_RUNNING)
    return TRUE;
  if (vm)
    return h2k_clone_check_room (o.clone, FALSE, error) && vm->ops->resume (vm, error);
  if (local)
    g_propagate_error (error, g_steal_pointer (&local));
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the clone %s does not run", name);
  return FALSE;
}

gboolean
h2k_clones_limit (const char *state_dir, const char *name, guint64 max_size, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};

  if (!h2k_clones_open (state_dir, name, H2K_CLONE_CHANGE, &o, error))
    return FALSE;
  json_object_remove_member (o.clone->root, "max-size");
  if (max_size > 0)
    json_object_set_int_member (o.clone->root, "max-size",
                                (gint64)MIN (max_size, (guint64)G_MAXINT64));
  return h2k_clone_save (o.clone, error);
}
