// Node has no XMLHttpRequest, and the one from npm leaves out responseXML, which strophe.js reads.
import { DOMParser } from '@xmldom/xmldom';
import xmlHttpRequest from 'xmlhttprequest-ssl';

/** A browser's XMLHttpRequest as far as BOSH needs it. */
export class XMLHttpRequest extends xmlHttpRequest.XMLHttpRequest {
    constructor() {
        super();
        Object.defineProperty(this, 'responseXML', {
            get: () => this.responseText
                ? new DOMParser().parseFromString(this.responseText, 'text/xml') : null,
        });
    }
}
