/* virt.c - libvirt: connections, and clones' domains.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/virt.h"
#include "boot/boot.h"
#include "migrate/clone/encrypt.h"
#include "migrate/clone/first-boot.h"
#include "migrate/clone/start.h"
#include "util/json.h"

#include <fcntl.h>
#include <libvirt/virterror.h>
#include <libxml/uri.h>
#include <unistd.h>

/* --- connections ------------------------------------------------------------------------------ */

/* libvirt prints errors by itself when nobody stops it. */
static void
keep_silent (void *data, virErrorPtr error)
{
}

char *
h2k_virt_message (void)
{
  const char *message = virGetLastErrorMessage ();

  return h2k_escape_text (message ? message : "no reason given", -1);
}

void
h2k_virt_set_error (GError **error, H2kError code, const char *format, ...)
{
  g_autofree char *why = h2k_virt_message ();
  g_autofree char *text = NULL;
  va_list ap;

  va_start (ap, format);
  text = g_strdup_vprintf (format, ap);
  va_end (ap);
  g_set_error (error, H2K_ERROR, code, "%s: %s", text, why);
}

/* Disks are named by this host's paths. */
static gboolean
check_local (const char *uri, GError **error)
{
  xmlURI *parsed = xmlParseURI (uri);
  gboolean ok = parsed && parsed->scheme && g_str_has_prefix (parsed->scheme, "qemu")
                && (!parsed->server || *parsed->server == '\0') && !strstr (parsed->scheme, "+ssh");
  g_autofree char *escaped = h2k_escape_text (uri, -1);

  xmlFreeURI (parsed);
  if (!ok)
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "%s is no QEMU of this host, where the clone lies: give qemu:///system or "
                 "qemu:///session",
                 escaped);
  return ok;
}

virConnectPtr
h2k_virt_open (const char *uri, GError **error)
{
  virConnectPtr connection;

  if (!uri)
    uri = geteuid () == 0 ? "qemu:///system" : "qemu:///session";
  if (!check_local (uri, error))
    return NULL;
  virSetErrorFunc (NULL, keep_silent);
  connection = virConnectOpen (uri);
  if (!connection)
    {
      g_autofree char *why = h2k_virt_message ();
      g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL,
                   "libvirt at %s cannot be reached: %s. Install it or start its daemon "
                   "(virtqemud or libvirtd); `hyper2kvm clone run` works without it",
                   uri, why);
    }
  return connection;
}

/* --- events ----------------------------------------------------------------------------------- */

static int wake_pipe[2] = {-1, -1};

static gpointer
run_events (gpointer data)
{
  while (virEventRunDefaultImpl () == 0)
    ;
  return NULL;
}

int
h2k_virt_listen (void)
{
  static gsize once;

  if (g_once_init_enter (&once))
    {
      if (virEventRegisterDefaultImpl () == 0 && pipe2 (wake_pipe, O_CLOEXEC | O_NONBLOCK) == 0)
        g_thread_unref (g_thread_new ("libvirt", run_events, NULL));
      g_once_init_leave (&once, 1);
    }
  return wake_pipe[0];
}

static void
wake (void)
{
  /* When it is full, it wakes already. */
  if (write (wake_pipe[1], "", 1) < 0)
    return;
}

static void
on_threshold (virConnectPtr connection, virDomainPtr domain, const char *device, const char *path,
              unsigned long long threshold, unsigned long long excess, void *data)
{
  wake ();
}

static int
on_lifecycle (virConnectPtr connection, virDomainPtr domain, int event, int detail, void *data)
{
  wake ();
  return 0;
}

void
h2k_virt_wake_on (virConnectPtr connection)
{
  virConnectDomainEventRegisterAny (connection, NULL, VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD,
                                    VIR_DOMAIN_EVENT_CALLBACK (on_threshold), NULL, NULL);
  virConnectDomainEventRegisterAny (connection, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                    VIR_DOMAIN_EVENT_CALLBACK (on_lifecycle), NULL, NULL);
}

/* --- domains ---------------------------------------------------------------------------------- */

const char *
h2k_virt_uri (const H2kClone *clone)
{
  return h2k_json_string (clone->root, "libvirt");
}

static virDomainPtr
find_uuid (virConnectPtr connection, const H2kClone *clone)
{
  g_autoptr (H2kDomain) machine = h2k_clone_machine (clone);
  g_autofree char *uuid = h2k_domain_get_uuid (machine);

  return virDomainLookupByUUIDString (connection, uuid);
}

/* An exported VM has the clone's UUID, and a disk of its own. */
static gboolean
is_of_clone (virDomainPtr domain, const H2kClone *clone)
{
  char *xml = virDomainGetXMLDesc (domain, 0);
  g_autofree char *disk
      = xml ? h2k_virt_text_at (xml, "/domain/devices/disk[@device='disk'][1]/source/@file") : NULL;
  g_autofree char *place = g_strdup_printf ("/clones/%s/", clone->name);

  free (xml);
  return disk && strstr (disk, place);
}

virDomainPtr
h2k_virt_domain (virConnectPtr connection, const H2kClone *clone)
{
  g_autoptr (virDomain) domain = find_uuid (connection, clone);

  return domain && is_of_clone (domain, clone) ? g_steal_pointer (&domain) : NULL;
}

static gboolean
check_no_other (virConnectPtr connection, const H2kClone *clone, GError **error)
{
  g_autoptr (virDomain) domain = find_uuid (connection, clone);
  g_autofree char *name = NULL;

  if (!domain || is_of_clone (domain, clone))
    return TRUE;
  name = h2k_escape_line (virDomainGetName (domain));
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
               "libvirt has another VM with the UUID of the clone %s, %s, whose disk is not the "
               "clone's: one that was exported, say; `virsh undefine` it, and define it again with "
               "a UUID and MACs of its own",
               clone->name, name);
  return FALSE;
}

virDomainPtr
h2k_virt_defined (const H2kClone *clone, GError **error)
{
  const char *uri = h2k_virt_uri (clone);
  g_autoptr (virConnect) connection = uri ? h2k_virt_open (uri, error) : NULL;

  return connection ? h2k_virt_domain (connection, clone) : NULL;
}

static gboolean
network_works (virConnectPtr connection, const char *name)
{
  virNetworkPtr network = virNetworkLookupByName (connection, name ? name : "default");
  gboolean works = network && virNetworkIsActive (network) == 1;

  if (network)
    virNetworkFree (network);
  return works;
}

/* A VM whose network is not there cannot be started at all. */
static void
choose_networks (virConnectPtr connection, H2kDomain *machine)
{
  for (guint i = 0; i < machine->nics->len; i++)
    {
      H2kDomainNic *nic = machine->nics->pdata[i];

      if (network_works (connection, nic->network))
        continue;
      g_message ("libvirt's network \"%s\" is not active here: the VM has a network of QEMU's own, "
                 "from which it reaches others and is not reached; start that one and "
                 "`hyper2kvm clone define %s` for the other",
                 nic->network ? nic->network : "default", machine->name);
      nic->user = TRUE;
    }
}

static gboolean
write_xml (const H2kClone *clone, const char *xml, GError **error)
{
  g_autofree char *path = g_build_filename (clone->dir, "domain.xml", NULL);
  g_autoptr (GError) local = NULL;

  if (g_file_set_contents_full (path, xml, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &local))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the definition cannot be written: %s",
               local->message);
  return FALSE;
}

/* Where CLONE is, and the definition of MACHINE for there; the caller's. First it is known that
 * there may be one. NULL: errors: H2K_ERROR_OUTPUT. */
static char *
make_definition (virConnectPtr connection, H2kClone *clone, H2kDomain *machine, GError **error)
{
  char *uri;
  const char *why = NULL;

  if (!check_no_other (connection, clone, error))
    return NULL;
  uri = virConnectGetURI (connection);
  machine->emulated = !h2k_kvm_works (&why);
  if (why)
    g_message ("the VM is emulated, which is slow: %s", why);
  machine->dac_label = h2k_virt_owner (connection);
  choose_networks (connection, machine);
  json_object_set_string_member (clone->root, "libvirt", uri ? uri : "");
  free (uri);
  return h2k_clone_save (clone, error) ? h2k_domain_to_xml (machine) : NULL;
}

virDomainPtr
h2k_virt_define (virConnectPtr connection, H2kClone *clone, GError **error)
{
  g_autoptr (H2kDomain) machine = h2k_clone_machine (clone);
  g_autofree char *xml = NULL;
  virDomainPtr domain;

  if (h2k_clone_is_encrypted (clone))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "the definition of an encrypted clone names each of its layers, and would be a "
                   "wrong one after a reset: `hyper2kvm clone start %s` starts it without",
                   clone->name);
      return NULL;
    }
  if (!(xml = make_definition (connection, clone, machine, error))
      || !write_xml (clone, xml, error))
    return NULL;
  domain = virDomainDefineXML (connection, xml);
  if (!domain)
    h2k_virt_set_error (error, H2K_ERROR_OUTPUT, "libvirt does not take the definition of %s",
                        clone->name);
  return domain;
}

/* The key of an encrypted CLONE, kept by libvirt until it ends. */
static gboolean
give_secret (virConnectPtr connection, const H2kClone *clone, GError **error)
{
  g_auto (H2kCloneSecret) secret = {0};
  virSecretPtr defined;
  const guint8 *value;
  gboolean ok;
  gsize length;

  if (!h2k_clone_secret (clone, &secret, error))
    return FALSE;
  if (!secret.uuid)
    return TRUE;
  defined = virSecretDefineXML (connection, secret.xml, 0);
  value = g_bytes_get_data (secret.value, &length);
  ok = defined && virSecretSetValue (defined, value, length, 0) == 0;
  if (!ok)
    h2k_virt_set_error (error, H2K_ERROR_OUTPUT, "libvirt does not take the key of %s",
                        clone->name);
  if (defined)
    virSecretFree (defined);
  return ok;
}

void
h2k_virt_forget_secret (const H2kClone *clone)
{
  const char *uri = h2k_virt_uri (clone);
  g_autofree char *uuid = h2k_clone_secret_uuid (clone);
  g_autoptr (virConnect) connection = uri && uuid ? h2k_virt_open (uri, NULL) : NULL;
  virSecretPtr secret = connection ? virSecretLookupByUUIDString (connection, uuid) : NULL;

  if (!secret)
    return;
  virSecretUndefine (secret);
  virSecretFree (secret);
}

/* A definition for this start alone: libvirt forgets it when the VM ends, or goes on with the one
 * that it has. */
static virDomainPtr
start_once (virConnectPtr connection, H2kClone *clone, H2kDomain *machine, GError **error)
{
  g_autofree char *xml = NULL;

  if (!h2k_virt_hand_over_media (connection, machine, error)
      || !give_secret (connection, clone, error)
      || !(xml = make_definition (connection, clone, machine, error)))
    return NULL;
  return virDomainCreateXML (connection, xml, 0);
}

static virDomainPtr
start_defined (virConnectPtr connection, H2kClone *clone, GError **error)
{
  g_autoptr (virDomain) domain = h2k_virt_domain (connection, clone);

  if (!domain && !(domain = h2k_virt_define (connection, clone, error)))
    return NULL;
  return virDomainCreate (domain) == 0 ? g_steal_pointer (&domain) : NULL;
}

gboolean
h2k_virt_start (virConnectPtr connection, H2kClone *clone, GError **error)
{
  gboolean first = FALSE;
  g_autoptr (H2kDomain) machine = h2k_clone_next_machine (clone, &first, error);
  g_autoptr (virDomain) domain = NULL;
  g_autoptr (GError) local = NULL;

  if (!machine)
    return FALSE;
  if (first)
    h2k_clone_announce_first_boot (machine);
  domain = first || h2k_clone_is_encrypted (clone) ? start_once (connection, clone, machine, &local)
                                                   : start_defined (connection, clone, &local);
  if (local)
    g_propagate_error (error, g_steal_pointer (&local));
  else if (!domain)
    h2k_virt_set_error (error, H2K_ERROR_TOOL,
                        "libvirt does not start %s (`hyper2kvm clone run %s` works without it)",
                        clone->name, clone->name);
  return domain != NULL;
}

gboolean
h2k_virt_undefine (virDomainPtr domain, GError **error)
{
  if (virDomainIsActive (domain) == 1)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "%s runs: `hyper2kvm clone stop` it first",
                   virDomainGetName (domain));
      return FALSE;
    }
  if (virDomainUndefineFlags (domain, VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                                          | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                                          | VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
                                          | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)
      == 0)
    return TRUE;
  h2k_virt_set_error (error, H2K_ERROR_OUTPUT, "libvirt does not undefine %s",
                      virDomainGetName (domain));
  return FALSE;
}
