/* vm-libvirt.c - the running VM of a clone that is a domain of libvirt.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/vm.h"
#include "migrate/clone/virt.h"

typedef struct
{
  H2kCloneVm vm;
  virConnectPtr connection;
  virDomainPtr domain;
  char *uri;
} LibvirtVm;

/* RESULT is what a libvirt function returned. */
static gboolean
done (int result, const char *what, GError **error)
{
  if (result == 0)
    return TRUE;
  h2k_virt_set_error (error, H2K_ERROR_TOOL, "libvirt cannot %s the VM", what);
  return FALSE;
}

static char *
libvirt_where (H2kCloneVm *vm)
{
  LibvirtVm *own = (LibvirtVm *)vm;

  return g_strdup_printf ("libvirt's domain %s at %s", virDomainGetName (own->domain), own->uri);
}

static H2kVmState
libvirt_state (H2kCloneVm *vm)
{
  int state, reason;

  if (virDomainGetState (((LibvirtVm *)vm)->domain, &state, &reason, 0) != 0)
    return H2K_VM_GONE;
  switch (state)
    {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
    case VIR_DOMAIN_SHUTDOWN:
      return H2K_VM_RUNNING;
    case VIR_DOMAIN_PAUSED:
    case VIR_DOMAIN_PMSUSPENDED:
      return H2K_VM_PAUSED;
    default:
      return H2K_VM_GONE;
    }
}

static gboolean
libvirt_pause (H2kCloneVm *vm, GError **error)
{
  return done (virDomainSuspend (((LibvirtVm *)vm)->domain), "pause", error);
}

static gboolean
libvirt_resume (H2kCloneVm *vm, GError **error)
{
  return done (virDomainResume (((LibvirtVm *)vm)->domain), "resume", error);
}

static gboolean
libvirt_shutdown (H2kCloneVm *vm, GError **error)
{
  return done (virDomainShutdownFlags (((LibvirtVm *)vm)->domain,
                                       VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN),
               "shut down", error);
}

static gboolean
libvirt_destroy (H2kCloneVm *vm, GError **error)
{
  return done (virDomainDestroyFlags (((LibvirtVm *)vm)->domain, VIR_DOMAIN_DESTROY_GRACEFUL),
               "end", error);
}

static gboolean
libvirt_set_threshold (H2kCloneVm *vm, const char *image, guint64 offset, GError **error)
{
  LibvirtVm *own = (LibvirtVm *)vm;
  char *xml = virDomainGetXMLDesc (own->domain, 0);
  /* Names of clones and of the store's folder may hold no quotes in XPath. */
  g_autofree char *where
      = g_strdup_printf ("/domain/devices/disk[source/@file='%s']/target/@dev", image);
  g_autofree char *target = strchr (image, '\'') ? NULL : h2k_virt_text_at (xml, where);

  free (xml);
  if (!target)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL, "the VM has no disk %s", image);
      return FALSE;
    }
  return done (virDomainSetBlockThreshold (own->domain, target, offset, 0), "watch the disk of",
               error);
}

static void
libvirt_free (H2kCloneVm *vm)
{
  LibvirtVm *own = (LibvirtVm *)vm;

  if (own->domain)
    virDomainFree (own->domain);
  if (own->connection)
    virConnectClose (own->connection);
  g_free (own->uri);
  g_free (own);
}

static const H2kCloneVmOps libvirt_ops = {
    .where = libvirt_where,
    .state = libvirt_state,
    .pause = libvirt_pause,
    .resume = libvirt_resume,
    .shutdown = libvirt_shutdown,
    .destroy = libvirt_destroy,
    .set_threshold = libvirt_set_threshold,
    .free = libvirt_free,
};

H2kCloneVm *
h2k_clone_vm_of_libvirt (const H2kClone *clone, gboolean watching, GError **error)
{
  const char *uri = h2k_virt_uri (clone);
  LibvirtVm *vm;

  if (!uri)
    return NULL;
  vm = g_new0 (LibvirtVm, 1);
  vm->vm.ops = &libvirt_ops;
  vm->vm.fd = -1;
  vm->uri = g_strdup (uri);
  vm->connection = h2k_virt_open (uri, error);
  vm->domain = vm->connection ? h2k_virt_domain (vm->connection, clone) : NULL;
  if (vm->domain && virDomainIsActive (vm->domain) == 1)
    {
      if (watching)
        h2k_virt_wake_on (vm->connection);
      return &vm->vm;
    }
  libvirt_free (&vm->vm);
  return NULL;
}
