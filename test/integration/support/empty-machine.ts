/**
 * A QEMU machine under TCG without disk or kernel: the firmware finds nothing to boot, which is all that libvirt's own calls need.
 * 64 MiB, 1 of 2 vCPUs online, a balloon, room for hotplug, and a channel if a path is given.
 */
export function emptyMachineXml(of: {
  readonly name: string;
  readonly channelPath?: string;
  readonly memoryMib?: number;
}): string {
  const channel =
    of.channelPath === undefined
      ? ''
      : `<channel type='unix'><source mode='bind' path='${of.channelPath}'/><target type='virtio' name='test'/></channel>`;
  return `
<domain type='qemu'>
  <name>${of.name}</name>
  <memory unit='MiB'>${of.memoryMib ?? 64}</memory>
  <vcpu current='1'>2</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='pci' model='pcie-root'/>
    ${"<controller type='pci' model='pcie-root-port'/>".repeat(6)}
    <controller type='usb' model='none'/>
    <memballoon model='virtio'/>
    ${channel}
  </devices>
</domain>`;
}
